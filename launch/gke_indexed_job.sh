#!/usr/bin/env bash
# Prints an Indexed Job that restores images on Kubernetes in parts, each by one pod with one GPU (or CHIPS of a TPU host).
#
#     export IMAGE=REGISTRY/diip_jax BUCKET=my-bucket
#     launch/gke_indexed_job.sh photos --output_dir=restored | kubectl apply -f -
#
# Takes the images and flags of `python -m diip_jax.launch`; paths are relative to the bucket.
set -euo pipefail

# More parts than pods at once even out how long they take, and a pod that is lost loses little.
PARTS=${PARTS:-64}
PODS=${PODS:-8}
# For TPUs: RESOURCE=google.com/tpu, and NODES with the labels of a node pool of single hosts.
source "$(dirname "$0")/kubernetes.sh"
volumes=$(bucket_volumes)
command=$(container_command python -m diip_jax.launch "--shard=\$(JOB_COMPLETION_INDEX)/$PARTS" \
    --skip_existing --tolerate_failures -- "$@")

cat << EOF
apiVersion: batch/v1
kind: Job
metadata:
  name: $NAME
spec:
  completionMode: Indexed
  completions: $PARTS
  parallelism: $PODS
  # Of each part by itself: one that fails for good costs no other.
  backoffLimitPerIndex: $RETRIES
  maxFailedIndexes: $PARTS
  podFailurePolicy:
    rules:
      # A node that is taken away is no failure of the part.
      - action: Ignore
        onPodConditions:
          - type: DisruptionTarget
            status: "True"
      # Wrong usage is wrong for all parts.
      - action: FailJob
        onExitCodes:
          containerName: diip-jax
          operator: In
          values: [2]
  template:
    metadata:
      annotations: $BUCKET_ANNOTATIONS
    spec:
      restartPolicy: Never
      # After SIGTERM what is finished is written within 10 seconds.
      terminationGracePeriodSeconds: 25
      serviceAccountName: $SERVICE_ACCOUNT
      nodeSelector: $NODES
      containers:
        - name: diip-jax
          image: $IMAGE
          workingDir: $BUCKET_FOLDER
          command: $command
          resources:
            limits:
              $RESOURCE: $CHIPS
          volumeMounts: $BUCKET_MOUNTS
      volumes: $volumes
EOF

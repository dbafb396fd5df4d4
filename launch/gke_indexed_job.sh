#!/usr/bin/env bash
# Prints an Indexed Job that restores images on Kubernetes in parts, each by one pod with one GPU (or CHIPS of a TPU host).
#
#     export IMAGE=REGISTRY/diip_jax BUCKET=my-bucket
#     launch/gke_indexed_job.sh photos --output_dir=restored | kubectl apply -f -
#
# Takes the images and flags of `python -m diip_jax.launch`; paths are relative to the bucket.
set -euo pipefail

IMAGE=${IMAGE:?image made from launch/Dockerfile}
BUCKET=${BUCKET:?bucket of Cloud Storage that holds the images and gets the results}
NAME=${NAME:-diip-jax}
# More parts than pods at once even out how long they take, and a pod that is lost loses little.
PARTS=${PARTS:-64}
PODS=${PODS:-8}
# What a pod gets: nvidia.com/gpu, or google.com/tpu with the labels of a node pool of single hosts.
RESOURCE=${RESOURCE:-nvidia.com/gpu}
CHIPS=${CHIPS:-1}
# JSON, as {"cloud.google.com/gke-accelerator": "nvidia-l4"}.
NODES=${NODES:-"{}"}
# Of Kubernetes; it needs the right to read and write the bucket.
SERVICE_ACCOUNT=${SERVICE_ACCOUNT:-default}
RETRIES=${RETRIES:-3}

# As JSON strings, which YAML reads. Kubernetes would expand $(...) in what the user gives: $$( stands for itself.
arguments=$(python3 -c 'import json, sys; print(json.dumps([*sys.argv[1:4], sys.argv[4], *(
    given.replace("$(", "$$(") for given in sys.argv[5:])]))' \
    python -m diip_jax.launch "--shard=\$(JOB_COMPLETION_INDEX)/$PARTS" --skip_existing --tolerate_failures "$@")

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
      annotations:
        gke-gcsfuse/volumes: "true"
    spec:
      restartPolicy: Never
      # After SIGTERM what is finished is written within 10 seconds.
      terminationGracePeriodSeconds: 25
      serviceAccountName: $SERVICE_ACCOUNT
      nodeSelector: $NODES
      containers:
        - name: diip-jax
          image: $IMAGE
          workingDir: /bucket
          command: $arguments
          resources:
            limits:
              $RESOURCE: $CHIPS
          volumeMounts:
            - name: bucket
              mountPath: /bucket
      volumes:
        - name: bucket
          csi:
            driver: gcsfuse.csi.storage.gke.io
            volumeAttributes:
              bucketName: $BUCKET
              mountOptions: implicit-dirs
EOF

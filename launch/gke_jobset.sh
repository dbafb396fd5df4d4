#!/usr/bin/env bash
# Prints a JobSet that restores images on all hosts of a TPU slice of Google Kubernetes Engine, one process for each host.
#
#     export IMAGE=REGISTRY/diip_jax BUCKET=my-bucket
#     launch/gke_jobset.sh photos --output_dir=restored | kubectl apply -f -
#
# Takes the images and flags of `python -m diip_jax.launch`; paths are relative to the bucket.
set -euo pipefail

# What the node pool is: its accelerator and topology, the hosts of a slice, the chips of a host.
ACCELERATOR=${ACCELERATOR:-tpu-v5-lite-podslice}
TOPOLOGY=${TOPOLOGY:-4x4}
HOSTS=${HOSTS:-4}
CHIPS=${CHIPS:-4}
RESOURCE=google.com/tpu
source "$(dirname "$0")/kubernetes.sh"
volumes=$(bucket_volumes)
command=$(container_command python -m diip_jax.launch --distributed --skip_existing -- "$@")

cat << EOF
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $NAME
  annotations:
    # All hosts in one node pool, which is one slice.
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  failurePolicy:
    # The hosts of a slice start together; --skip_existing leaves out what was finished.
    maxRestarts: $RETRIES
  replicatedJobs:
    - name: hosts
      replicas: 1
      template:
        spec:
          parallelism: $HOSTS
          completions: $HOSTS
          backoffLimit: 0
          template:
            metadata:
              annotations: $BUCKET_ANNOTATIONS
            spec:
              restartPolicy: Never
              serviceAccountName: $SERVICE_ACCOUNT
              nodeSelector:
                cloud.google.com/gke-tpu-accelerator: $ACCELERATOR
                cloud.google.com/gke-tpu-topology: $TOPOLOGY
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

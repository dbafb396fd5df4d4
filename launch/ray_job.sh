#!/usr/bin/env bash
# Prints a RayJob (KubeRay) that restores images on all chips of a Ray cluster, which is made for it and taken away after it.
#
#     export IMAGE=REGISTRY/diip_jax:ray
#     launch/ray_job.sh s3://my-bucket/photos --output_dir=s3://my-bucket/restored | kubectl apply -f -
#
# Takes the images and flags of `python -m diip_jax.launch`.
set -euo pipefail

IMAGE=${IMAGE:?image made from launch/Dockerfile with EXTRA=ray,stores,cuda13}
NAME=${NAME:-diip-jax}
WORKERS=${WORKERS:-4}
# What a worker has: nvidia.com/gpu; or google.com/tpu, of which an actor takes one chip.
RESOURCE=${RESOURCE:-nvidia.com/gpu}
CHIPS=${CHIPS:-1}
# JSON, as {"cloud.google.com/gke-accelerator": "nvidia-l4"}.
NODES=${NODES:-"{}"}
# Of Kubernetes; it needs the right to read and write the buckets.
SERVICE_ACCOUNT=${SERVICE_ACCOUNT:-default}
RETRIES=${RETRIES:-3}

# Quoted for the shell of the entrypoint, then as a JSON string, which YAML reads.
entrypoint=$(python3 -c 'import json, shlex, sys; print(json.dumps(shlex.join(sys.argv[1:])))' \
    python -m diip_jax.launch --engine=ray --tolerate_failures "$@")

cat << END
apiVersion: ray.io/v1
kind: RayJob
metadata:
  name: $NAME
spec:
  entrypoint: $entrypoint
  # A driver or head that is lost; finished images are left out by the next one.
  backoffLimit: $RETRIES
  shutdownAfterJobFinishes: true
  rayClusterSpec:
    headGroupSpec:
      rayStartParams:
        # The head drives; actors are on the workers.
        num-cpus: "0"
      template:
        spec:
          serviceAccountName: $SERVICE_ACCOUNT
          containers:
            - name: ray-head
              image: $IMAGE
              resources:
                requests:
                  cpu: "4"
                  memory: 16Gi
                limits:
                  memory: 16Gi
    workerGroupSpecs:
      - groupName: chips
        replicas: $WORKERS
        minReplicas: 0
        maxReplicas: $WORKERS
        rayStartParams: {}
        template:
          spec:
            serviceAccountName: $SERVICE_ACCOUNT
            terminationGracePeriodSeconds: 25
            nodeSelector: $NODES
            containers:
              - name: ray-worker
                image: $IMAGE
                resources:
                  requests:
                    cpu: "4"
                    memory: 16Gi
                  limits:
                    memory: 16Gi
                    $RESOURCE: $CHIPS
END

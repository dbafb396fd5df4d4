#!/usr/bin/env bash
# Prints a RayJob (KubeRay) that restores images on all chips of a Ray cluster, which is made for it and taken away after it.
#
#     export IMAGE=REGISTRY/diip_jax:ray
#     launch/ray_job.sh s3://my-bucket/photos --output_dir=s3://my-bucket/restored | kubectl apply -f -
#
# Takes the images and flags of `python -m diip_jax.launch`.
set -euo pipefail

WORKERS=${WORKERS:-4}
# The image is made with EXTRA=ray,stores,cuda13. Of RESOURCE=google.com/tpu an actor takes one chip.
source "$(dirname "$0")/kubernetes.sh"
# Of a pod, whether it drives or works.
memory=16Gi
requests="{\"cpu\": \"4\", \"memory\": \"$memory\"}"

# Quoted for the shell of the entrypoint, then as a JSON string, which YAML reads.
entrypoint=$(python3 -c 'import json, shlex, sys; print(json.dumps(shlex.join(sys.argv[1:])))' \
    python -m diip_jax.launch --engine=ray --tolerate_failures "$@")

cat << EOF
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
                requests: $requests
                limits:
                  memory: $memory
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
                  requests: $requests
                  limits:
                    memory: $memory
                    $RESOURCE: $CHIPS
EOF

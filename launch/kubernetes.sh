# What the scripts that print manifests for Kubernetes have in common: each sources this.
# shellcheck shell=bash disable=SC2034 # what is set here is used there

IMAGE=${IMAGE:?image made from launch/Dockerfile}
NAME=${NAME:-diip-jax}
# Of Kubernetes; it needs the right to read and write the buckets.
SERVICE_ACCOUNT=${SERVICE_ACCOUNT:-default}
RETRIES=${RETRIES:-3}
# What a pod gets: nvidia.com/gpu, or google.com/tpu, and how many of them.
RESOURCE=${RESOURCE:-nvidia.com/gpu}
CHIPS=${CHIPS:-1}
# Labels of the nodes as JSON, such as {"cloud.google.com/gke-accelerator": "nvidia-l4"}.
NODES=${NODES:-"{}"}

# The bucket $BUCKET of Cloud Storage as the folder that a container works in; JSON, which YAML reads.
BUCKET_FOLDER=/bucket
BUCKET_ANNOTATIONS='{"gke-gcsfuse/volumes": "true"}'
BUCKET_MOUNTS='[{"name": "bucket", "mountPath": "/bucket"}]'
bucket_volumes() {
    BUCKET=${BUCKET:?bucket of Cloud Storage that holds the images and gets the results}
    echo '[{"name": "bucket", "csi": {"driver": "gcsfuse.csi.storage.gke.io", "volumeAttributes":' \
        "{\"bucketName\": \"$BUCKET\", \"mountOptions\": \"implicit-dirs\"}}}]"
}

# container_command OURS... -- THEIRS...: a container's command as JSON: whatever a name holds, it stays one argument.
# Kubernetes puts variables in the place of $(...), which is meant of ours alone; of theirs $$ stands for $.
container_command() {
    python3 -c 'import json, sys
split = sys.argv.index("--")
print(json.dumps([*sys.argv[1:split], *(given.replace("$", "$$") for given in sys.argv[split + 1:])]))' "$@"
}

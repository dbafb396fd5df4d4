#!/usr/bin/env bash
# Restores images on all hosts of a TPU slice, one process for each host.
#
#     export TPU_NAME=my-tpu ZONE=us-central2-b
#     launch/tpu_pod.sh install
#     launch/tpu_pod.sh restore /mnt/photos --output_dir=/mnt/restored
#
# `install` puts the package of this source tree on every host. `restore` takes the images and flags of
# `python -m diip_jax.launch`; paths are those of the hosts, on storage that all of them share, such as a mounted bucket.
set -euo pipefail

TPU_NAME=${TPU_NAME:?name of the TPU}
ZONE=${ZONE:?zone of the TPU}
PYTHON_VERSION=${PYTHON_VERSION:-3.12}
FOLDER=${FOLDER:-diip_jax_env} # in the home directory of every host

on_every_host() {
    gcloud compute tpus tpu-vm ssh "$TPU_NAME" --zone="$ZONE" --worker=all --command="$1"
}

install() {
    local root wheels wheel
    root=$(cd "$(dirname "$0")/.." && pwd)
    wheels=$(mktemp -d)
    trap "rm -rf '$wheels'" EXIT # its value, for the variable ends with the function
    python3 -m pip wheel --no-deps --wheel-dir "$wheels" "$root"
    wheel=$(basename "$wheels"/diip_jax-*.whl)
    gcloud compute tpus tpu-vm scp "$wheels/$wheel" "$TPU_NAME:" --zone="$ZONE" --worker=all
    # uv brings a Python of its own: that of the TPU's images may be older than the package needs.
    on_every_host "python3 -m pip install --user uv && python3 -m uv venv --clear --python $PYTHON_VERSION $FOLDER &&
        python3 -m uv pip install --python $FOLDER/bin/python './$wheel[tpu]'"
}

restore() {
    local arguments
    arguments=$(printf ' %q' "$@")
    on_every_host "$FOLDER/bin/python -m diip_jax.launch --distributed --skip_existing$arguments"
}

case ${1:-} in
    install) install ;;
    restore) shift && restore "$@" ;;
    *) echo "usage: $0 install | restore IMAGES AND FLAGS" >&2 && exit 2 ;;
esac

"""The scripts in launch/: each is run, with stand-ins for the programs of a cluster."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from command_line import checkpoint, free_port, picture

from diip_jax.launch.flag_table import define_flags

FOLDER = Path(__file__).resolve().parent.parent / "launch"
SETTINGS = ["--method=diip", "--stride=250", "--max_iterations=3", "--stopping=budget"]
# As srun of one node: every task has its number in its environment, and the largest exit code counts.
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
export SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
wait $first; code=$?
wait $second || code=$?
exit $code
"""
# Keeps the arguments of every call, one call a line.
RECORDER = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
"""


@pytest.fixture
def program(tmp_path):
    """Puts a program of this name and text before all others."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def program(name, text):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    return program


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where the processes of this file keep what they compile, for one another."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def script(tmp_path, cache):
    """Runs a script of launch/ in an empty folder, with these arguments and variables."""

    def script(name, *arguments, **variables):
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        known = {"PATH": path, "PYTHON": sys.executable, "XDG_CACHE_HOME": str(cache), **variables}
        return subprocess.run(
            ["bash", FOLDER / name, *map(str, arguments)],
            env=os.environ | known,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return script


@pytest.fixture
def three(tmp_path):
    return [picture(tmp_path / "in" / f"{name}.png", n) for n, name in enumerate("abc")]


def names(folder):
    return {path.name for path in folder.iterdir()}


RESTORED = {f"{name}.{kind}" for name in "abc" for kind in ("png", "json")}


def parsed(arguments):
    """The flags and images of a command line of `diip_jax.launch`, which refuses what it does not know."""
    values = define_flags()
    return values, values(["launch", *arguments])[1:]


def in_the_pod(text, **variables):
    """What Kubernetes makes of an argument: $(NAME) is a variable where there is one, $$ is $."""

    def known(found):
        return "$" if found[0] == "$$" else variables.get(found[1], found[0])

    return re.sub(r"\$\$|\$\((\w+)\)", known, text)


def test_several_processes(script, tmp_path, three):
    given = [*three, f"--checkpoint={checkpoint()}", f"--output_dir={tmp_path / 'out'}", *SETTINGS]
    done = script("several_processes.sh", *given, PROCESSES="2")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("process 0 ended with code 0: process 0 of 2: 2 restored, 0 skipped, 0 failed; ")
    assert lines[1].startswith("process 1 ended with code 0: process 1 of 2: 1 restored, 0 skipped, 0 failed; ")
    assert names(tmp_path / "out") == RESTORED and names(tmp_path / "logs") == {"process_0.log", "process_1.log"}


def test_the_worst_of_several_processes_counts(script, tmp_path, three):
    done = script(
        "several_processes.sh", *three, "--method=diip", "--stride=7", f"--checkpoint={checkpoint()}", PROCESSES="2"
    )
    assert done.returncode == 2
    assert done.stdout.count("--stride=7: expected a divisor") == 2


def test_slurm(script, program, tmp_path, three):
    program("srun", SRUN)
    given = [*three, f"--checkpoint={checkpoint()}", f"--output_dir={tmp_path / 'out'}", *SETTINGS]
    done = script("slurm.sbatch", *given, SLURM_JOB_ID="7", JAX_COORDINATOR_PORT=str(free_port()))
    assert done.returncode == 0, done.stderr
    assert "process 0 of 2: 2 restored, 0 skipped, 0 failed; " in done.stdout
    assert "process 1 of 2: 1 restored, 0 skipped, 0 failed; " in done.stdout
    assert names(tmp_path / "out") == RESTORED


@pytest.mark.parametrize("name", ["slurm.sbatch", "slurm_array.sbatch"])
def test_slurm_reads_its_settings_before_the_first_command(name):
    lines = (FOLDER / name).read_text().splitlines()
    settings = [n for n, line in enumerate(lines) if line.startswith("#SBATCH --")]
    commands = [n for n, line in enumerate(lines) if line and not line.startswith("#")]
    assert len(settings) > 5 and max(settings) < min(commands)


def test_tpu_pod_restores_on_every_host(script, program, tmp_path):
    program("gcloud", RECORDER)
    calls = tmp_path / "calls"
    where = {"TPU_NAME": "slice", "ZONE": "here", "CALLS": str(calls)}
    images = ["/mnt/a photo's.png", "/mnt/*.png"]
    done = script("tpu_pod.sh", "restore", *images, "--output_dir=/mnt/my results", **where)
    assert done.returncode == 0, done.stderr
    [call] = map(json.loads, calls.read_text().splitlines())
    assert call[:-1] == ["compute", "tpus", "tpu-vm", "ssh", "slice", "--zone=here", "--worker=all"]
    command = shlex.split(call[-1].removeprefix("--command="))
    assert command[:3] == ["diip_jax_env/bin/python", "-m", "diip_jax.launch"]
    values, positional = parsed(command[3:])
    assert positional == images and values.output_dir == "/mnt/my results"
    assert values.distributed and values.skip_existing


def test_tpu_pod_installs_this_package_on_every_host(script, program, tmp_path):
    program("gcloud", RECORDER)
    # In place of `python3 -m pip wheel ... --wheel-dir FOLDER SOURCE`.
    program("python3", '#!/usr/bin/env bash\ntouch "${@: -2:1}/diip_jax-1.whl"\n')
    calls = tmp_path / "calls"
    done = script("tpu_pod.sh", "install", TPU_NAME="slice", ZONE="here", CALLS=str(calls))
    assert done.returncode == 0, done.stderr
    copy, install = map(json.loads, calls.read_text().splitlines())
    assert copy[:4] == ["compute", "tpus", "tpu-vm", "scp"] and copy[4].endswith("/diip_jax-1.whl")
    assert copy[5:] == ["slice:", "--zone=here", "--worker=all"]
    command = install[-1].removeprefix("--command=")
    assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0
    assert shlex.split(command)[-1] == "./diip_jax-1.whl[tpu]"
    assert not Path(copy[4]).exists()


def test_gke_jobset(script):
    images = ["photos", 'a "photo": #1 $(HOME) $$x.png']
    done = script("gke_jobset.sh", *images, "--output_dir=restored", IMAGE="registry/image", BUCKET="bucket", HOSTS="8")
    assert done.returncode == 0, done.stderr
    manifest = yaml.safe_load(done.stdout)
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    [hosts] = manifest["spec"]["replicatedJobs"]
    job = hosts["template"]["spec"]
    # One pod for each host of one slice, all at once; a pod that fails is the JobSet's concern.
    assert (hosts["replicas"], job["parallelism"], job["completions"], job["backoffLimit"]) == (1, 8, 8, 0)
    pod = job["template"]["spec"]
    [container] = pod["containers"]
    assert container["image"] == "registry/image" and container["resources"]["limits"] == {"google.com/tpu": 4}
    assert pod["restartPolicy"] == "Never" and set(pod["nodeSelector"]) == {
        "cloud.google.com/gke-tpu-accelerator",
        "cloud.google.com/gke-tpu-topology",
    }
    [volume] = pod["volumes"]
    assert volume["csi"]["volumeAttributes"]["bucketName"] == "bucket"
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": container["workingDir"]}]
    assert job["template"]["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}
    assert container["command"][:3] == ["python", "-m", "diip_jax.launch"]
    values, positional = parsed(map(in_the_pod, container["command"][3:]))
    assert positional == images and values.output_dir == "restored"
    assert values.distributed and values.skip_existing


def test_slurm_array(script, program, tmp_path, three):
    """Every task of the array with its own number, as Slurm starts them."""
    program("srun", '#!/usr/bin/env bash\nexec "$@"\n')
    given = [*three, f"--checkpoint={checkpoint()}", f"--output_dir={tmp_path / 'out'}", *SETTINGS]
    array = {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "1", "SLURM_ARRAY_TASK_COUNT": "2"}
    for task in "01":
        done = script("slurm_array.sbatch", *given, SLURM_ARRAY_TASK_ID=task, **array)
        assert done.returncode == 0, done.stderr
    assert names(tmp_path / "out") == RESTORED
    done = script("slurm_array.sbatch", *given, **(array | {"SLURM_ARRAY_TASK_MAX": "2"}))
    assert done.returncode == 2 and "expected --array=0-N without gaps" in done.stderr


def test_gke_indexed_job(script):
    images = ["photos", "a $(HOME) 'photo' $$x.png"]
    done = script("gke_indexed_job.sh", *images, "--output_dir=restored", IMAGE="a/b", BUCKET="bucket", PARTS="16")
    assert done.returncode == 0, done.stderr
    manifest = yaml.safe_load(done.stdout)
    kubernetes_validate.validate(manifest, "1.31", strict=True)
    job = manifest["spec"]
    assert (job["completionMode"], job["completions"], job["backoffLimitPerIndex"]) == ("Indexed", 16, 3)
    ignored, failed = job["podFailurePolicy"]["rules"]
    assert ignored == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    [container] = job["template"]["spec"]["containers"]
    assert failed["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [2]}
    values, positional = parsed([in_the_pod(text, JOB_COMPLETION_INDEX="3") for text in container["command"][3:]])
    assert positional == images and (values.shard, values.output_dir) == ("3/16", "restored")
    assert values.skip_existing and values.tolerate_failures


def test_ray_job(script):
    images = ["s3://bucket/a 'photo'.png", "s3://bucket/$x"]
    done = script("ray_job.sh", *images, "--output_dir=s3://bucket/out", IMAGE="a/b", WORKERS="2")
    assert done.returncode == 0, done.stderr
    manifest = yaml.safe_load(done.stdout)
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    values, positional = parsed(shlex.split(manifest["spec"]["entrypoint"])[3:])
    assert positional == images and values.engine == "ray" and values.output_dir == "s3://bucket/out"
    [group] = manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    for template in (group["template"], manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": template["spec"]}
        kubernetes_validate.validate(pod, "1.31", strict=True)
    [container] = group["template"]["spec"]["containers"]
    assert group["replicas"] == 2 and container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_image_holds_what_the_package_is_built_from():
    copied = {
        word
        for line in (FOLDER / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY")
        for word in line.split()[1:-1]
    }
    root = FOLDER.parent
    assert all((root / name).exists() for name in copied)
    assert {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "checkpoints", "diip_jax"} == copied


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("tpu_pod.sh", ["restore", "a.png"], "TPU_NAME: name of the TPU"),
        ("gke_jobset.sh", ["a.png"], "IMAGE: image made from launch/Dockerfile"),
        ("gke_indexed_job.sh", ["a.png"], "IMAGE: image made from launch/Dockerfile"),
        ("ray_job.sh", ["a.png"], "IMAGE: image made from launch/Dockerfile"),
    ],
)
def test_what_is_missing_is_named(script, name, arguments, says):
    done = script(name, *arguments)
    assert done.returncode != 0 and says in done.stderr and done.stdout == ""


def test_tpu_pod_needs_to_be_told_what_to_do(script):
    done = script("tpu_pod.sh", TPU_NAME="slice", ZONE="here")
    assert done.returncode == 2 and "install | restore IMAGES AND FLAGS" in done.stderr

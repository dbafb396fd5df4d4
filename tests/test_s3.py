"""From S3 to S3 with Ray, an actor killed on the way: `DIIP_JAX_MOTO=.../moto_server` names the server that stands in.

moto needs a Python environment of its own, since it wants other versions of Amazon's packages than s3fs does.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
from command_line import checkpoint, free_port, picture, run
from test_ray_engine import SETTINGS, actors_of

MOTO = os.environ.get("DIIP_JAX_MOTO")
pytestmark = pytest.mark.skipif(MOTO is None, reason="DIIP_JAX_MOTO names no moto_server")


@pytest.fixture
def server(monkeypatch):
    """An empty S3 with a bucket."""
    import s3fs

    port = free_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    process = subprocess.Popen([MOTO, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        files = s3fs.S3FileSystem(skip_instance_cache=True)
        for _ in range(300):
            try:
                files.mkdir("bucket")
                break
            except Exception:  # it does not answer yet
                time.sleep(0.1)
        yield files
    finally:
        process.kill()
        process.wait()


def records(files):
    files.invalidate_cache()
    return [name for name in files.find("bucket/out") if name.endswith(".json") and "leases" not in name]


def test_an_actor_dies_on_the_way_from_s3_to_s3(capsys, tmp_path, server):
    pictures = [picture(tmp_path / "in" / f"{n:02}.png", n) for n in range(12)]
    for path in pictures:
        server.pipe_file(f"bucket/in/{path.name}", path.read_bytes())
    code = (
        "import os, sys\nos.environ['RAYDRIVER'] = str(os.getpid())\n"
        "from diip_jax.launch.main import main\nsys.exit(main(sys.argv[1:]))"
    )
    given = ["s3://bucket/in", "--output_dir=s3://bucket/out", "--engine=ray", "--ray_actors=2"]
    command = [sys.executable, "-c", code, *given, f"--checkpoint={checkpoint()}", *SETTINGS]
    environ = os.environ | {"RAY_worker_niceness": "0"}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not records(server):
            time.sleep(0.05)
        os.kill(actors_of(process)[0], signal.SIGKILL)
        told, _ = process.communicate()
    assert process.returncode == 0, told
    server.invalidate_cache()
    assert sorted(name.rpartition("/")[2] for name in server.find("bucket/out")) == sorted(
        f"{path.stem}.{kind}" for path in pictures for kind in ("png", "json")
    )
    run(capsys, *pictures, *SETTINGS, f"--output_dir={tmp_path / 'here'}")
    for path in pictures:
        assert server.cat_file(f"bucket/out/{path.name}") == (tmp_path / "here" / path.name).read_bytes()

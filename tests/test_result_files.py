import json

import numpy as np
import pytest

from diip_jax.evaluate.result_files import result_path, sha256, write_arrays
from diip_jax.images import ImageError

DECIDES = {"task": "noise", "y": sha256(np.arange(3)), "method": {"rate": 0.01, "project": True}, "seed": 0}


def test_the_name_is_a_digest_of_all_that_decides(tmp_path):
    path = result_path(tmp_path, "noise", DECIDES)
    # Files of earlier runs stay valid.
    assert path == tmp_path / "noise-88e21265720412f5.npz"
    turned = dict(reversed(DECIDES.items()))
    assert result_path(tmp_path, "noise", turned) == path
    changed = [{**DECIDES, "seed": 1}, {**DECIDES, "method": {"rate": 0.02, "project": True}}]
    assert len({path, *(result_path(tmp_path, "noise", each) for each in changed)}) == 3


def test_arrays_come_back_with_their_settings(tmp_path):
    path = tmp_path / "new" / "a.npz"
    write_arrays(path, {"a": np.arange(4, dtype=np.uint8), "seconds": 1.5, "kernels": None}, DECIDES)
    with np.load(path) as stored:
        assert sorted(stored) == ["a", "seconds", "settings"]
        np.testing.assert_array_equal(stored["a"], np.arange(4))
        assert stored["a"].dtype == np.uint8 and float(stored["seconds"]) == 1.5
        assert json.loads(str(stored["settings"])) == DECIDES


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(ImageError, match="cannot be written"):
        write_arrays(tmp_path / "a.npz", {"a": np.zeros(3)}, DECIDES)
    assert not list(tmp_path.iterdir())

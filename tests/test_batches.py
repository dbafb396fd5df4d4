import numpy as np
import pytest
from networks import uint8_images

from diip_jax.image_reading import ImageError
from diip_jax.train.batches import Prepared, batches, held_out_images
from diip_jax.train.cuts import Cut
from diip_jax.train.pictures import open_pictures

CUT = Cut(16, flips=False)


@pytest.fixture
def pictures(tmp_path):
    np.savez(tmp_path / "p.npz", images=uint8_images(10))
    return open_pictures(tmp_path / "p.npz")


def sequence(pictures, count, batch_size=5, cut=CUT, seed=0, **process):
    iterator = batches(Prepared(pictures, cut, batch_size, print), cut, batch_size, seed, **process)
    return [next(iterator) for _ in range(count)]


def test_every_picture_comes_once_before_any_comes_again_in_another_order(pictures):
    epochs = np.concatenate(sequence(pictures, 6)).reshape(3, 10, -1)
    images = {image.tobytes() for image in uint8_images(10)}
    orders = [[image.tobytes() for image in epoch] for epoch in epochs]
    assert all(set(order) == images for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_the_seed_alone_decides(pictures):
    cut = Cut(16, turns=True)
    first, again = (np.stack(sequence(pictures, 4, cut=cut)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (np.stack(sequence(pictures, 4, cut=cut, seed=1)) != first).any()


def test_goes_on_where_its_state_was_taken(pictures):
    cut = Cut(16, turns=True)
    iterator = batches(Prepared(pictures, cut, 5, print), cut, 5, 0)
    for _ in range(3):
        next(iterator)
    state = iterator.get_state()
    expected = [next(iterator) for _ in range(3)]
    other = batches(Prepared(pictures, cut, 5, print), cut, 5, 0)
    other.set_state(state)
    np.testing.assert_array_equal([next(other) for _ in range(3)], expected)


def test_processes_have_one_batch_together(pictures):
    whole = sequence(pictures, 3, batch_size=6)
    parts = [sequence(pictures, 3, batch_size=6, process=n, processes=3) for n in range(3)]
    for n, batch in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([part[n] for part in parts]), batch)


def test_the_next_picture_takes_the_place_of_one_that_cannot_be_used(pictures):
    lines = []

    def read(number):
        if number in (3, 9):
            raise ImageError(pictures.names[number], "is damaged")
        return pictures.read(number)

    prepared = Prepared(pictures._replace(read=read), CUT, 5, lines.append)
    images = uint8_images(10)
    for number, instead in ((3, 4), (9, 0), (3, 4), (5, 5)):
        np.testing.assert_array_equal(prepared[number], images[instead])
    assert [line.partition(":")[2] for line in lines] == [" is damaged; left out"] * 2


def test_too_few_pictures_are_one_line(pictures):
    with pytest.raises(ImageError, match=r"p\.npz: has 10 pictures to train on, fewer than a batch of 11: give more"):
        Prepared(pictures, CUT, 11, print)

    def read(number):
        raise ImageError(pictures.names[number], "is damaged")

    lines = []
    prepared = Prepared(pictures._replace(read=read), CUT, 9, lines.append)
    with pytest.raises(ImageError, match=r"has [0-8] pictures .* \(\d+ cannot be used, such as .* is damaged\)"):
        next(batches(prepared, CUT, 9, 0))


def test_held_out_images(pictures):
    np.testing.assert_array_equal(held_out_images(pictures, CUT, print), uint8_images(10))
    lines = []
    with pytest.raises(ImageError, match="no picture that can be used to judge by, of 10"):
        held_out_images(pictures, Cut(32), lines.append)
    assert len(lines) == 10 and "smaller than --image_size=32; left out" in lines[0]

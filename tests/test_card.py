import json

import pytest
from networks import tiny_prior

from diip_jax.card import Card, HeldOut, in_words, markdown, terms_in_words
from diip_jax.prior import CheckpointError, load_prior, read_card, save_prior

CARD = Card(
    data="200 scans",
    terms="Research only.\nAsk | first",
    images_seen=12_800,
    began_from="faces64",
    settings={"batch_size": 16, "crop": (1, 2, 3, 4)},
    heldout=HeldOut(step=800, images=20, t=(50, 800), errors=(0.1, 0.02)),
)


def test_goes_through_json_unchanged():
    read = Card.from_stored(json.loads(json.dumps(CARD.stored())))
    assert read.heldout == CARD.heldout and read.terms == CARD.terms
    assert read.settings == {"batch_size": 16, "crop": [1, 2, 3, 4]}
    assert Card.from_stored(json.loads(json.dumps(Card().stored()))) == Card()


def test_markdown_says_all_of_it_and_keeps_its_tables_whole():
    text = markdown("scans64", CARD, {"network": "tiny"})
    assert "--checkpoint=scans64" in text and "**Terms.** Research only. Ask \\| first." in text
    assert "| images seen | 12,800 |" in text and "| began from | faces64 |" in text and "| network | tiny |" in text
    assert "20 held-out images, step 800" in text and "| error | 0.100000 | 0.020000 | 0.060000 |" in text
    assert "| batch_size | 16 |" in text
    assert all(line.replace("\\|", "").count("|") == 3 for line in text.splitlines() if line.startswith("| batch"))


def test_a_card_that_says_nothing_is_honest():
    text = markdown("x", Card(), {})
    assert "**Terms.** none are recorded" in text and "| trained on | not recorded |" in text
    assert terms_in_words(None) == terms_in_words(Card())


def test_lies_in_the_checkpoint_and_beside_it(tmp_path):
    save_prior(tmp_path / "scans64", tiny_prior(), card=CARD)
    assert read_card(tmp_path / "scans64").heldout == CARD.heldout
    assert "| predicts | epsilon |" in (tmp_path / "scans64" / "README.md").read_text()
    load_prior(tmp_path / "scans64")


def test_checkpoints_without_a_card(tmp_path):
    save_prior(tmp_path / "plain", tiny_prior())
    assert read_card(tmp_path / "plain") is None
    assert not (tmp_path / "plain" / "README.md").exists()


def test_a_damaged_card_is_one_line(tmp_path, monkeypatch):
    save_prior(tmp_path / "odd", tiny_prior())
    monkeypatch.setattr("diip_jax.prior.read_metadata", lambda path: {"card": {"unknown": 1}})
    with pytest.raises(CheckpointError, match="odd: damaged card"):
        read_card(tmp_path / "odd")


def test_in_words_it_is_a_line_each():
    lines = in_words(CARD).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["data", "seen", "held-out error of the noise", "terms"]
    assert lines[1] == f"seen: {CARD.images_seen:,} images" and lines[2].endswith(f"{CARD.heldout.mean:.5f}")
    assert in_words(None) == f"terms: {terms_in_words(None)}"

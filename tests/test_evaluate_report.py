import dataclasses

import numpy as np

from diip_jax.evaluate.report import interval, markdown, noise_prediction, overview
from diip_jax.evaluate.score import Row

BARE = Row("noise", "input (2)", [20.0, 20.0], [0.5, 0.5], [float("inf")] * 2, [])
FULL = Row(
    "noise",
    "DIIP (2), robust",
    [26.0, 26.0],
    [0.75, 0.75],
    [21.0, 22.0],
    [100, 120],
    0.5,
    lpips=[0.25, 0.25],
    psnr_gap=[0.25, 0.25],
    lpips_gap=[0.05, 0.05],
    iterations=[110, 130],
    seconds=[1.0, 2.0],
    evaluations=[550, 650],
    memory_bytes=103_000_000,
)


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]


def test_a_row_shows_means_with_intervals_and_what_it_cost():
    head, rule, bare, full = cells(markdown([BARE, FULL]))
    shown = dict(zip(head, full, strict=True))
    assert shown == {
        "task": "noise",
        "method": "DIIP (2), robust",
        "PSNR (dB)": "26.00 [26.00, 26.00]",
        "SSIM": "0.750 [0.750, 0.750]",
        "LPIPS": "0.250 [0.250, 0.250]",
        "PSNR to input (dB)": "21.50",
        "below the best PSNR (dB)": "0.25 [0.25, 0.25]",
        # 0.05 above 0.2
        "above the best LPIPS": "0.050 [0.050, 0.050] (25 %)",
        "median iterate": "110",
        "stopped before the end": "50 %",
        "s / image": "1.5",
        "evaluations / image": "600",
        "memory (MB)": "103",
    }
    assert {*rule} == {"---"}
    assert bare[2:4] == ["20.00 [20.00, 20.00]", "0.500 [0.500, 0.500]"] and {*bare[4:]} == {"-"}


def test_of_a_single_image_there_is_no_interval():
    assert interval([26.0, 28.0], 1) == "27.0 [26.0, 28.0]" and interval([26.04], 1) == "26.0"


def test_several_seeds_have_a_column_for_how_far_they_differ():
    head, _, bare, full = cells(markdown([BARE, dataclasses.replace(FULL, seed_spread=0.125)]))
    assert (head[-1], bare[-1], full[-1]) == ("std over seeds (dB)", "-", "0.12")


def test_what_no_row_has_is_no_column():
    (head, *_) = cells(markdown([BARE]))
    assert head == [
        "task",
        "method",
        "PSNR (dB)",
        "SSIM",
        "PSNR to input (dB)",
        "median iterate",
        "stopped before the end",
    ]


def test_the_overview_has_a_row_per_method_and_a_column_per_task():
    elsewhere = dataclasses.replace(FULL, task="blur", psnr=[21.0, 22.0], lpips=[])
    assert cells(overview([BARE, FULL, elsewhere])) == [
        ["method", "noise", "blur"],
        ["---"] * 3,
        ["input (2)", "20.00 / 0.500", "-"],
        ["DIIP (2), robust", "26.00 / 0.750 / 0.250", "21.50 / 0.750"],
    ]


def test_the_table_of_noise_prediction_has_means_over_images_and_over_timesteps():
    errors = np.array([[0.1, 0.3], [0.2, 0.4]])
    head, rule, means, intervals = noise_prediction("prior, 2 images", np.array([50, 800]), errors).splitlines()
    assert (head, rule) == ("| t | 50 | 800 | mean |", "| --- | --- | --- | --- |")
    assert means == "| prior, 2 images | 0.150000 | 0.350000 | 0.250000 |"
    assert intervals == "| 95 % interval | 0.100000 .. 0.200000 | 0.300000 .. 0.400000 | 0.200000 .. 0.300000 |"
    *_, of_one = noise_prediction("prior", np.array([50]), np.array([[0.1]])).splitlines()
    assert of_one == "| 95 % interval | - | - |"

"""A training from its plan to its prior: begun, gone on with, interrupted, finished."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from diip_jax import distribute
from diip_jax.card import HeldOut
from diip_jax.images import write_image
from diip_jax.noise_prediction import noise_prediction_errors, timesteps
from diip_jax.prior import Prior
from diip_jax.report import montage
from diip_jax.sample import draw
from diip_jax.train.batches import Prepared, batches
from diip_jax.train.checkpoints import States, TrainingError, averaged_prior, images_seen, write_prior
from diip_jax.train.interruption import interruption
from diip_jax.train.plan import Plan
from diip_jax.train.progress import Clock, Progress
from diip_jax.train.step import Metrics, State, initial_state, learning_rate, make_update, rounds

# Of the picture of samples: rows and columns, and at most so many steps of DDIM.
_GRID = 4
_DDIM_STEPS = 10


def train(plan: Plan, report: Callable[[str], None]) -> int | None:
    """Trains to the end, or to an interruption, from where an earlier call with the same plan was.

    Args:
        report: gets lines for people.

    Returns:
        The signal that interrupted it, None where it has finished.

    Raises:
        TrainingError: another training is in the folder, the loss is not finite, or something cannot be written.
        ImageError: too few pictures can be used.
    """
    report = report if jax.process_index() == 0 else lambda line: None
    batch_size = plan.optimisation.batch_size
    mesh = distribute.mesh_of_all(batch_size)
    rounds(plan.optimisation, mesh)  # a mistake there shows before anything is written
    prepared = Prepared(plan.pictures, plan.cut, batch_size, report)
    iterator = batches(
        prepared, plan.cut, batch_size, plan.seed, process=jax.process_index(), processes=jax.process_count()
    )
    states = States(plan.training_folder / "state")
    try:
        fresh = initial_state(plan.start.params, plan.optimisation, plan.seed)
        heldout = None
        if states.latest is None:
            state = distribute.whole(fresh, mesh)
        else:
            heldout = _check_same(plan, states.notes)
            state = states.restore(jax.eval_shape(lambda: fresh), iterator, mesh)
            report(f"goes on from step {int(state.step)}, kept in {states.folder}")
        del fresh
        training = _Training(plan, states, iterator, mesh, heldout, report, int(state.step))
        try:
            return training.run(state)
        finally:
            training.progress.close()
    finally:
        states.close()


def _check_same(plan: Plan, notes: dict[str, Any]) -> HeldOut | None:
    """The held-out errors that were noted last; raises TrainingError where the notes are of another training."""
    kept = notes["settings"]
    for name, value in plan.settings().items():
        if kept.get(name) != value:
            raise TrainingError(
                f"--{name}={value}: the training in {plan.training_folder} has {kept.get(name)}; give the same "
                "settings to go on, or another --output_dir to begin anew"
            )
    return None if notes["heldout"] is None else HeldOut.from_stored(notes["heldout"])


class _Training:
    """The steps of a training, and what happens after some of them."""

    def __init__(
        self,
        plan: Plan,
        states: States,
        iterator: Any,
        mesh: Mesh,
        heldout: HeldOut | None,
        report: Callable[[str], None],
        step: int,
    ):
        self._plan, self._states, self._iterator, self._mesh = plan, states, iterator, mesh
        self._heldout, self._report = heldout, report
        self._clock = Clock()
        self._main = jax.process_index() == 0
        self._rate_of = learning_rate(plan.optimisation)
        self.progress = Progress(plan.training_folder if self._main else None, step, report)

    def run(self, state: State) -> int | None:
        """All steps that are left; returns the signal that interrupted them."""
        plan, steps, step = self._plan, self._plan.optimisation.max_steps, int(state.step)
        if step < steps:
            update = make_update(
                plan.template, plan.objective, plan.optimisation, self._mesh, remat_blocks=plan.remat_blocks
            )
            self._report(f"compiles, then trains on {self._mesh.size} {self._mesh.devices.flat[0].device_kind}")
        elif self._main and images_seen(plan.output) != step * plan.optimisation.batch_size:
            self._write_prior(step, state)  # it was ended between the state and the prior
        unread: tuple[int, Metrics] | None = None
        with interruption() as interrupted:
            while step < steps:
                state, metrics = update(state, distribute.joined(next(self._iterator), self._mesh))
                step += 1
                # One step behind, so that the devices have the next one before this process waits for the last.
                self._read(unread)
                unread = step, metrics
                signal = interrupted(step)
                if signal is not None or step == steps or self._due(step):
                    self._read(unread)
                    unread = None
                    self._keep(step, state, judge=signal is None)
                if signal is not None:
                    self._report(f"interrupted after step {step} of {steps}; the same command goes on from there")
                    return signal
        self._report(f"finished: {plan.output}, {step * plan.optimisation.batch_size:,} images in {step} steps")
        return None

    def _due(self, step: int) -> bool:
        plan = self._plan
        return any(step % every == 0 for every in (plan.save_every, plan.heldout_every, plan.samples_every))

    def _read(self, unread: tuple[int, Metrics] | None) -> None:
        """Waits for a step, and tells of it."""
        if unread is None:
            return
        step, metrics = unread[0], {name: float(value) for name, value in unread[1]._asdict().items()}
        self._clock.shown(self._plan.optimisation.batch_size)
        for name, value in metrics.items():
            if not math.isfinite(value):
                latest = self._states.latest
                kept = "no state was saved before" if latest is None else f"the state of step {latest} is kept"
                raise TrainingError(
                    f"{name.replace('_', ' ')} is {value} at step {step}: the training diverged; {kept}; begin anew "
                    "with a lower --learning_rate or --clip_norm"
                )
        if step % self._plan.log_every == 0 or step == 1:
            metrics["learning_rate"] = float(self._rate_of(step - 1))
            steps, seen = self._plan.optimisation.max_steps, step * self._plan.optimisation.batch_size
            self.progress.course(step, steps, seen, self._clock.rate(), metrics)

    def _keep(self, step: int, state: State, *, judge: bool) -> None:
        """Saves the state and the prior, and before them, where it is time and asked for, judges the prior."""
        self._clock.stopped()
        plan = self._plan
        last = step == plan.optimisation.max_steps
        if self._main and judge:
            prior = averaged_prior(plan.template, state)
            if last or step % plan.heldout_every == 0:
                self._judge(step, prior)
            if last or step % plan.samples_every == 0:
                self._draw(step, prior)
        heldout = None if self._heldout is None else self._heldout.stored()
        self._states.save(state, self._iterator, {"settings": plan.settings(), "heldout": heldout})
        if self._main:
            self._write_prior(step, state)

    def _write_prior(self, step: int, state: State) -> None:
        plan = self._plan
        write_prior(
            plan.output, averaged_prior(plan.template, state), plan.card(step, self._heldout), plan.stored_dtype
        )

    def _judge(self, step: int, prior: Prior) -> None:
        t = timesteps(prior.schedule)
        errors = noise_prediction_errors(prior, self._plan.heldout, t).mean(axis=0)
        self._heldout = HeldOut(step, len(self._plan.heldout), tuple(map(int, t)), tuple(map(float, errors)))
        self.progress.heldout(self._heldout)

    def _draw(self, step: int, prior: Prior) -> None:
        total = prior.schedule.num_timesteps
        stride = next(stride for stride in range(-(-total // _DDIM_STEPS), total + 1) if total % stride == 0)
        samples = draw(prior, _GRID**2, stride=stride)
        cells = [image if image.shape[-1] == 3 else image[..., 0] for image in samples]
        picture = montage([cells[row : row + _GRID] for row in range(0, _GRID**2, _GRID)])
        folder = self._plan.training_folder / "samples"
        folder.mkdir(exist_ok=True)
        path = folder / f"{step:08d}.png"
        write_image(path, picture)
        self.progress.samples(step, path, picture)

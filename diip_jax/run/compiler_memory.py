"""What a compiler has freed goes back to the system before the compiled program takes memory of its own."""

import functools

import jax

from diip_jax.machine import give_back_memory

_LONG = 1.0  # seconds of a compilation that is worth it


@functools.cache
def give_back() -> None:
    """From here on, after every long compilation."""

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration" and duration_secs > _LONG:
            give_back_memory()

    jax.monitoring.register_event_duration_secs_listener(listen)

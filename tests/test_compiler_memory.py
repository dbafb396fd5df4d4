"""Memory that a compiler leaves behind."""

import jax

from diip_jax.run import compiler_memory


def test_it_goes_back_after_long_compilations(monkeypatch):
    calls = []
    monkeypatch.setattr(compiler_memory, "give_back_memory", lambda: calls.append(1))
    compiler_memory.give_back()
    compiler_memory.give_back()  # once is enough
    compiled = "/jax/core/compile/backend_compile_duration"
    for event, seconds in ((compiled, 0.1), ("/jax/core/compile/jaxpr_trace_duration", 9.0), (compiled, 9.0)):
        jax.monitoring.record_event_duration_secs(event, seconds)
    assert calls == [1]

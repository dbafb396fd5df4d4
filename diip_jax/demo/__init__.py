"""A web page to restore pictures on: `python -m diip_jax.demo` (extra [demo])."""

"""diip_jax in other libraries' shapes: `deepinv`, a Reconstructor; `pipeline`, called as diffusers' pipelines are."""

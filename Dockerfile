# CPU:  docker build -t diip_jax .
# CUDA: docker build -t diip_jax:cuda --build-arg EXTRAS=cuda13,demo,plots .   and run it with --gpus all
#
# The wheel is built as .ci/run builds it, and installed in an image that has no source tree. Linted (hadolint), not
# built: this repository is developed where no Docker is.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY diip_jax diip_jax
COPY checkpoints checkpoints
RUN pip wheel --no-cache-dir --no-deps -w /dist .

FROM python:${PYTHON}-slim
ARG EXTRAS=demo,plots
COPY --from=build /dist /dist
RUN pip install --no-cache-dir "$(echo /dist/diip_jax-*.whl)[${EXTRAS}]" && rm -r /dist && useradd --uid 1000 --create-home user
USER 1000
WORKDIR /home/user
# The web page: docker run -p 7860:7860 diip_jax. Files: docker run -v "$PWD:/home/user/work" diip_jax \
#   python -m diip_jax.launch work/photo.png --output_dir=work/restored
EXPOSE 7860
CMD ["python", "-m", "diip_jax.demo", "--host=0.0.0.0"]

# diffmaac at the versions of the lock, on a CPU:
#
#   docker build -t diffmaac .
#   docker run --rm -v "$PWD/runs:/home/someone/runs" diffmaac train env=pendulum
FROM python:3.11-slim

# These draw videos without a screen and without a GPU: EGL, and Mesa's drivers in software.
RUN apt-get update && apt-get install -y --no-install-recommends libegl1 libgl1-mesa-dri && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/diffmaac
COPY requirements.lock ./
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY diffmaac ./diffmaac
COPY envs ./envs
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

RUN useradd --create-home --uid 1000 someone
USER 1000
ENV HOME=/home/someone
WORKDIR /home/someone
ENTRYPOINT ["diffmaac"]
CMD ["--help"]

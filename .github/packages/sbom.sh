#!/bin/bash
# Write the software bill of materials of a wheel and its dependencies in .ci/runtime.txt, as CycloneDX JSON, and
# validate it: .github/packages/sbom.sh WHEEL FILE. It needs a venv with .ci/newest.txt.
set -euo pipefail
wheel=$(realpath "$1")
file=$(realpath -m "$2")
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv --without-pip "$scratch/venv"
pip="python3 -m pip --python $scratch/venv/bin/python install -q --no-compile"
$pip --require-hashes --only-binary :all: -r .ci/runtime.txt
$pip --no-deps "$wheel"
version=$(basename "$wheel" | cut -d- -f2)
sed "s/^dynamic = .*/version = \"$version\"/" pyproject.toml > "$scratch/pyproject.toml"
python3 -W ignore -m cyclonedx_py environment --pyproject "$scratch/pyproject.toml" --mc-type application --sv 1.6 \
  --output-reproducible --validate -o "$file" "$scratch/venv/bin/python"

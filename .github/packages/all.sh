#!/bin/bash
# Build and check everything of a release, on Debian 13 in a venv with .ci/newest.txt: .github/packages/all.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(realpath -m "${1:-dist}")
python3 -m build --no-isolation --outdir "$folder" .
python3 -m twine check --strict "$folder"/*.whl "$folder"/*.tar.gz
python3 -m check_wheel_contents "$folder"/*.whl
python3 .github/packages/zipapp.py "$folder/templater.pyz"
.github/packages/sbom.sh "$folder"/*.whl "$folder/templater.cdx.json"
.github/packages/debian.sh "$folder"
cd "$folder"
sha256sum -- *.whl *.tar.gz templater.pyz templater.cdx.json *.deb > SHA256SUMS

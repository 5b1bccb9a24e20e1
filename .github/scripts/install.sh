#!/usr/bin/env bash
# Installs pesbench from the folder of the action, and the packages that the model needs.
# PACKAGES: requirements, one a line; PESBENCH_FOLDER: a checkout.
set -euo pipefail
requirements="$(mktemp)"
trap 'rm -f "$requirements"' EXIT
# a file, because a line of a list of requirements is no option of pip and no word of a shell
printf '%s\n' "${PACKAGES:-}" > "$requirements"
if grep -qE '^[[:space:]]*-' "$requirements"; then
  echo "::error::input 'packages': a line begins with a dash; give requirements only, one a line"
  exit 2
fi
python -m pip install --quiet --requirement "$requirements" "${PESBENCH_FOLDER:?}[check]"
python -m pesbench --version

#!/usr/bin/env bash
# Runs `pesbench check` on one model and keeps what it says; its exit code is that of the check: 0 passed, 1 a limit is
# violated, 2 bad input, 75 the machine failed. Inputs come as variables, so that no input is ever a word of the shell.
set -euo pipefail
report="${REPORT:?}"
mkdir -p "$report"
words=()
if [ -n "${MODEL:-}" ]; then
  words+=("$MODEL")
  MODELS_FILE="${MODELS_FILE:-${PESBENCH_FOLDER:?}/config/models.yaml}"
fi
if [ -n "${MODELS_FILE:-}" ]; then words+=(--models-file "$MODELS_FILE"); fi
if [ -n "${WEIGHTS:-}" ]; then words+=(--weights "$WEIGHTS"); fi
if [ -n "${FAMILY:-}" ]; then words+=(--family "$FAMILY"); fi
if [ -n "${CALCULATOR:-}" ]; then words+=(--calculator "$CALCULATOR"); fi
case "${TRUST:-false}" in
  true) words+=(--trust) ;;
  false) ;;
  *) echo "::error::input 'trust': give true or false"; exit 2 ;;
esac
while IFS= read -r word; do
  if [ -n "$word" ]; then words+=("$word"); fi
done <<< "${ARGUMENTS:-}"
status=0
python -m pesbench check --out "$report/check.json" "${words[@]}" > "$report/check.txt" 2> "$report/log.txt" || status=$?
cat "$report/check.txt"
cat "$report/log.txt" >&2
verdict="$(grep -v '^[[:space:]]*$' "$report/check.txt" | tail -n 1 || true)"
if [ -z "$verdict" ]; then verdict="$(tail -n 1 "$report/log.txt")"; fi
verdict="${verdict:0:500}"
if [ -n "${GITHUB_OUTPUT:-}" ]; then
  printf 'exit-code=%s\n' "$status" >> "$GITHUB_OUTPUT"
  printf 'verdict=%s\n' "$verdict" >> "$GITHUB_OUTPUT"
fi
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
  # text of a model: nothing of it is markup
  escape() { sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g'; }
  {
    printf '<h3>pesbench check</h3>\n<pre>\n'
    if [ -s "$report/check.txt" ]; then escape < "$report/check.txt"; else escape < "$report/log.txt"; fi
    printf '</pre>\n'
  } >> "$GITHUB_STEP_SUMMARY"
fi
exit "$status"

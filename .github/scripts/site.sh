#!/usr/bin/env bash
# Collects the pages of a folder of results for a static host: site.sh RESULTS SITE [ANOTHER TITLE]
# The page gets a link with a TITLE to ANOTHER page of the site.
set -euo pipefail
results="${1:?the folder of results}"
site="${2:?the folder of the site}"
if [ -e "$site" ]; then
  echo "site.sh: $site is there already; remove it, or give another folder" >&2
  exit 2
fi
if [ ! -f "$results/explorer/index.html" ] || [ ! -f "$results/leaderboard.html" ]; then
  echo "site.sh: $results holds no page (explorer/index.html, leaderboard.html); make it with" \
    "'python -m pesbench report $results'" >&2
  exit 2
fi
mkdir -p "$site"
cp -R "$results/explorer/." "$site/"
cp "$results/leaderboard.html" "$results/leaderboard.csv" "$site/"
if [ -f "$results/leaderboard.json" ]; then cp "$results/leaderboard.json" "$site/"; fi
if [ -n "${3:-}" ]; then
  link="<footer><a href=\"$3/index.html\">${4:?the title of the link}</a></footer>"
  page="$(< "$site/index.html")"
  printf '%s\n' "${page/"</main>"/"</main>
$link"}" > "$site/index.html"
fi
touch "$site/.nojekyll" # files that begin with an underscore are served as they are
du -sh "$site"

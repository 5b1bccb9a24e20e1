// Abbreviations of the field: each is explained where a text has it first, on hover, focus and touch.

import { h } from "./dom.js";

const WORDS = {
  AUPRC: "Area under the precision–recall curve: 1 at best; chance gives the share of what is sought.",
  AUROC: "Area under the receiver operating characteristic: how often, of one that fails and one that does not, the first has the higher score. 0.5 is chance.",
  BSCT: "Bond Smoothness Characterization Test (arXiv:2602.04861): a bond is compressed and stretched, all else of the molecule stays.",
  DFT: "Density functional theory.",
  FSD: "Force Smoothness Deviation: how far the changes of the forces along a bond scan are from those of the reference, in Å⁻¹. 0 is as smooth as the reference.",
  MAE: "Mean absolute error.",
  MD: "Molecular dynamics.",
  NVE: "Dynamics at a constant number of atoms, volume and energy: no thermostat.",
  RMS: "Root mean square.",
  p: "How often chance gives a result as strong as this one.",
  "ρ": "Spearman's correlation of ranks, from −1 to 1.",
};
// letters that mean this in such surroundings alone
const WHERE = { p: "p(?= [=<\\d])", "ρ": "(?<=Spearman(?:'s)? )ρ" };
const FOUND = new RegExp(`(?<![\\p{L}\\p{N}_])(?:${Object.keys(WORDS).map((word) => WHERE[word] ?? word).join("|")})(?![\\p{L}\\p{N}_])`, "gu");

// A text as children of an element.
export function explained(text) {
  const parts = [], seen = new Set();
  let end = 0;
  for (const found of text.matchAll(FOUND)) {
    const word = found[0];
    if (seen.has(word)) continue;
    seen.add(word);
    parts.push(text.slice(end, found.index), h("span", { class: "word", tabindex: "0", tip: WORDS[word] }, word));
    end = found.index + word.length;
  }
  return [...parts, text.slice(end)];
}

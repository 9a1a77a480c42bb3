"""The words for verdicts and models, the same on the terminal and on the page."""

from __future__ import annotations

CODES = {
    "consistent": "Consistent with an ordinary miner",
    "deviates": "Deviates from an ordinary miner",
    "cannot_tell": "Cannot tell",
}
PLAIN = {
    "consistent": "Nothing unusual. The moments at which this miner found its shares are what a fair lottery and the "
    "miner's own clockwork produce together; nothing is left that would need another explanation.",
    "deviates": "Something is left. Even with the miner's own clockwork taken out, the moments at which it found its "
    "shares are not those of a fair lottery. One ordinary run in twenty gets here by accident, so look at the p-value, "
    "and record a second run.",
    "cannot_tell": "These shares cannot answer the question.",
}
MODELS = {
    "s9": "Antminer S9",
    "lv06": "Lucky Miner LV06",
    "axeos": "Bitaxe",
    "lb-box": "Goldshell LB-Box",
    "bm1366": "BM1366 chain",
}

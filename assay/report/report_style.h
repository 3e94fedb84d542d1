#pragma once
// The style sheet of report.html. Series colours are the eight of Okabe and Ito ("Color Universal Design"),
// darkened or lightened for contrast on white and on near-black.

namespace assay {

inline constexpr char kReportStyle[] = R"css(
:root { --back: #ffffff; --text: #1b1f24; --soft: #57606a; --rule: #d8dee4; --band: #f6f8fa;
  --c0: #0062a8; --c1: #b34700; --c2: #00795a; --c3: #9a3b78; --c4: #1f7fb8; --c5: #8a6d00; --c6: #444b54; --c7: #c22f2f; }
@media (prefers-color-scheme: dark) {
  :root { --back: #0f1318; --text: #e6edf3; --soft: #9aa5b1; --rule: #30363d; --band: #171c23;
    --c0: #5aaeff; --c1: #ff9b52; --c2: #35d0a0; --c3: #ea92c6; --c4: #8fd3ff; --c5: #f0d34a; --c6: #c3ccd6; --c7: #ff8080; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.25rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; }
.lead { color: var(--soft); margin: 0 0 1.25rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; color: var(--soft); padding-top: .5rem; }
th, td { padding: .45rem .5rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
thead th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--rule); }
tbody tr:first-child { background: var(--band); }
tbody th, td:nth-child(2), .n { white-space: nowrap; }
.n { text-align: right; }
thead .n { white-space: normal; }
td small { display: block; color: var(--soft); }
.verdict { min-width: 14rem; }
figure { margin: 0; max-width: 56rem; }
figure .scroll > svg { display: block; width: 100%; min-width: 30rem; height: auto; }
figcaption { color: var(--soft); font-size: .875rem; margin-top: .25rem; }
svg text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--text); }
svg .tick { fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .axis { stroke: var(--soft); stroke-width: 1; fill: none; }
svg .zero { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 3; }
.series { color: var(--c0); }
.series-1 { color: var(--c1); } .series-2 { color: var(--c2); } .series-3 { color: var(--c3); }
.series-4 { color: var(--c4); } .series-5 { color: var(--c5); } .series-6 { color: var(--c6); }
.series-7 { color: var(--c7); }
.line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.dash-1 { stroke-dasharray: 7 4; }
.whisker { stroke: currentColor; stroke-width: 2; fill: none; }
.mark { fill: currentColor; stroke: var(--back); stroke-width: 1; }
.legend { list-style: none; margin: .25rem 0 .5rem; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem;
  font-size: .875rem; }
.legend li { display: flex; align-items: center; gap: .4rem; }
.swatch { width: 34px; height: 18px; }
.facts { color: var(--soft); font-size: .875rem; padding-left: 1.1rem; overflow-wrap: anywhere; }
@media print { .scroll { overflow: visible; } }
)css";

}  // namespace assay

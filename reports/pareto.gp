# pareto.gp - quality against true size: one panel for each model and setting (scope, arithmetic, seed),
# the frontier as steps, what lies above it in grey. No noise floor: the divergence of the original from itself in
# another arithmetic needs both models' logits, so it comes with a cell of its own.
#
# title: What a bit per weight costs
# sql: SELECT cell_id, bpw_matrices, value, ci_low, ci_high, n
# sql: FROM v_latest
# sql: WHERE status = 'OK' AND spec <> 'none' AND task = :task AND metric = :metric AND bpw_matrices IS NOT NULL
# sql: ORDER BY model, bpw_matrices, value, spec, cell_id
#
# Before this text the program puts what it worked out from the rows: file names, sizes, axis ranges, the box of each
# panel, $frontier, $labels (placed so that they cover nothing), $legend and the caption. To draw it again:
#     gnuplot -e 'kind = "png"' pareto.gp
# kind is svg, png or pdf. Lengths are in points of the page; a terminal only scales them.

if (!exists("kind")) kind = "svg"
if (kind eq "svg") {
    scale = 1.85
    set terminal svg size scale * width, scale * height dynamic name "pareto" font sprintf("sans-serif,%g", scale * font_size) \
        linewidth 1.5 background rgb "white"
} else { if (kind eq "png") {
    scale = 3
    set terminal pngcairo size scale * width, scale * height font sprintf("sans-serif,%g", scale * font_size) \
        fontscale 0.75 linewidth 2.6 pointscale 2.2 background rgb "white"
} else {
    scale = 1
    set terminal pdfcairo size width / 72.0 in, height / 72.0 in font sprintf("sans-serif,%g", font_size) \
        fontscale 0.75 linewidth 0.9 pointscale 0.5 background rgb "white"
} }
set output base . "." . kind

ink = "#222222"; quiet = "#8c8c8c"
caption_font = sprintf("sans-serif,%g", scale * 0.82 * font_size)
title_font = sprintf("sans-serif,%g", scale * 1.2 * font_size)
label_font = sprintf("sans-serif,%g", scale * label_size)

set encoding utf8
set datafile separator "\t"
unset key
set multiplot

# The words around the panels: one invisible plot over the page, whose axes are points.
set lmargin at screen 0; set rmargin at screen 1; set bmargin at screen 0; set tmargin at screen 1
unset border; unset tics
set label 1 figure_title at title_x, title_y left textcolor rgb ink font title_font noenhanced
set label 2 caption at title_x, caption_y left textcolor rgb "#444444" font caption_font noenhanced
plot [0:width] [0:height] \
    $legend index 0 using 1:2:3:4 with points pointtype variable linecolor rgb variable pointsize 1.1, \
    $legend index 1 using 1:2:3:(0) with vectors nohead linecolor rgb ink linewidth 1.2, \
    $legend index 2 using 1:2:3:(0) with vectors nohead linecolor rgb ink dashtype (1, 3) linewidth 1.2, \
    $legend index 3 using 1:2:3 with labels left textcolor rgb ink noenhanced
unset label

set border 3 linecolor rgb ink linewidth 0.8
set bars 0.6
set grid xtics ytics linecolor rgb "#e4e4e4" linewidth 0.6 linetype 1
set logscale y
set xrange [x_low:x_high]
# One tick alone is no scale: neighbouring bits get finer ones.
x_step = x_high - x_low > 3 ? 1 : x_high - x_low > 1.5 ? 0.5 : 0.2
set yrange [y_low:y_high]
do for [p = 1:n_panels] {
    set lmargin at screen panel_left[p] / width; set rmargin at screen panel_right[p] / width
    set bmargin at screen panel_bottom[p] / height; set tmargin at screen panel_top[p] / height
    set label 3 panel_title[p] at graph 0, graph 1 offset 0, 0.7 left textcolor rgb ink noenhanced
    set xtics x_step nomirror out scale 0.6 textcolor rgb ink format (panel_has_x[p] ? "%g" : "")
    set ytics nomirror out scale 0.6 textcolor rgb ink format (panel_has_y[p] ? "%g" : "")
    set xlabel (panel_has_x[p] ? x_label : "") offset 0, 0.4 textcolor rgb ink noenhanced
    set ylabel (panel_has_y[p] ? y_label : "") offset 0.6, 0 textcolor rgb ink noenhanced
    unset arrow
    if (panel_original[p] > x_low && panel_original[p] < x_high) {
        set arrow 1 from panel_original[p], graph 0 to panel_original[p], graph 0.15 nohead back linecolor rgb ink \
            dashtype (1, 3) linewidth 1.2
    }
    plot $frontier index p - 1 using 1:2 with steps linecolor rgb ink linewidth 1.2, \
         $labels index p - 1 using 4:5:6:7 with vectors nohead linecolor rgb quiet linewidth 0.6, \
         for [m = 1:n_methods] data using ($1 == p && $2 == m && $3 == 0 ? $7 : NaN):8:9:10 with yerrorbars \
             pointtype method_point[m] linecolor rgb quiet linewidth 0.9 pointsize 1, \
         for [m = 1:n_methods] data using ($1 == p && $2 == m && $3 == 1 ? $7 : NaN):8:9:10 with yerrorbars \
             pointtype method_point[m] linecolor rgb method_colour[m] linewidth 1.2 pointsize 1.15, \
         $labels index p - 1 using 1:2:3:8 with labels left font label_font textcolor rgb variable noenhanced
}
unset multiplot

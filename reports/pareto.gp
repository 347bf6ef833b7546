# pareto.gp - quality against true size: the frontier as steps, what lies off it in grey, the information limit, the
# noise floor. Against bits per weight one panel for each model and setting (scope, arithmetic, seed), against the size
# of the whole model one for each setting.
#
# title: What a bit per weight costs
# sql: SELECT cell_id, bpw_matrices, value, ci_low, ci_high, n, n_weights, rest_bytes
# sql: FROM v_latest
# sql: WHERE status = 'OK' AND spec <> 'none' AND reference = '' AND task = :task AND metric = :metric
# sql:     AND bpw_matrices IS NOT NULL
# sql: ORDER BY model, bpw_matrices, value, spec, cell_id
#
# Before this text the program puts what it worked out from the rows: file names, sizes, axes, the box of each panel,
# $frontier, $limit, $labels (placed so that they cover nothing), $legend and the caption. To draw it again:
#     gnuplot -e 'kind = "png"' pareto.gp
# kind is svg, png or pdf; tex (cairolatex) for the texts of `--latex`. Lengths are in points of the page; a terminal
# only scales them. docs/figures.md says how to read the figure.

if (!exists("kind")) kind = "svg"
if (exists("folder")) data = folder . data # drawn from another folder than the data's
scale = 1
if (kind eq "svg") {
    scale = 1.85
    set terminal svg size scale * width, scale * height dynamic name "pareto" font sprintf("sans-serif,%g", scale * font_size) \
        linewidth 1.5 background rgb "white"
}
if (kind eq "png") {
    scale = 3
    set terminal pngcairo size scale * width, scale * height font sprintf("sans-serif,%g", scale * font_size) \
        fontscale 0.75 linewidth 2.6 pointscale 2.2 background rgb "white"
}
if (kind eq "pdf") {
    set terminal pdfcairo size width / 72.0 in, height / 72.0 in font sprintf("sans-serif,%g", font_size) \
        fontscale 0.75 linewidth 0.9 pointscale 0.6 background rgb "white"
}
if (kind eq "tex") {
    set terminal cairolatex pdf input colortext size width / 72.0 in, height / 72.0 in \
        header sprintf("\\fontsize{%g}{%g}\\selectfont", font_size, 1.2 * font_size) linewidth 0.9 pointscale 0.6
}
set output base . "." . kind

caption_font = sprintf("sans-serif,%g", scale * 0.82 * font_size)
title_font = sprintf("sans-serif,%g", scale * 1.2 * font_size)
label_font = sprintf("sans-serif,%g", scale * label_size)

set encoding utf8
set datafile separator "\t"
set datafile missing "?"
unset key
set multiplot

# The panels first, then the words around them.
set border 3 linecolor rgb ink linewidth 0.8
set bars 0.6
set grid xtics ytics linecolor rgb "#e4e4e4" linewidth 0.6 linetype 1
if (x_is_log) { set logscale x }
if (y_is_log) { set logscale y }
set xrange [x_low:x_high]
set yrange [y_low:y_high]
do for [p = 1:n_panels] {
    set lmargin at screen panel_left[p] / width; set rmargin at screen panel_right[p] / width
    set bmargin at screen panel_bottom[p] / height; set tmargin at screen panel_top[p] / height
    set label 3 panel_title[p] at graph 0, graph 1 offset 0, 0.7 left textcolor rgb ink noenhanced
    eval(panel_has_x[p] ? x_ticks : x_ticks_bare)
    eval(panel_has_y[p] ? y_ticks : y_ticks_bare)
    set xlabel (panel_has_x[p] ? x_label : "") offset 0, 0.4 textcolor rgb ink noenhanced
    set ylabel (panel_has_y[p] ? y_label : "") offset 0.6, 0 textcolor rgb ink noenhanced
    unset arrow
    unset object
    do for [s = 1:n_series] { if (series_panel[s] == p) {
        # A comparison with NaN is false: what is not there is not drawn.
        if (floor_to[s] > y_low) {
            set object 10 * s rectangle from series_from[s], floor_from[s] to series_to[s], floor_to[s] behind \
                fillcolor rgb band_rgb fillstyle solid noborder
        }
        if (floor_value[s] > y_low && floor_value[s] < y_high) {
            set arrow 10 * s + 5 from series_from[s], floor_value[s] to series_to[s], floor_value[s] nohead back \
                linecolor rgb "#b0b0b0" linewidth 1
        }
        do for [k = 1:3] {
            reference = k == 1 ? reference_y[s] : k == 2 ? reference_low[s] : reference_high[s]
            if (reference > y_low && reference < y_high) {
                set arrow 10 * s + k from series_from[s], reference to series_to[s], reference nohead back \
                    linecolor rgb series_rgb[s] dashtype 4 linewidth (k == 1 ? 1.2 : 0.6)
            }
        }
        if (original_x[s] > x_low && original_x[s] < x_high) {
            set arrow 10 * s + 4 from original_x[s], graph 0 to original_x[s], graph 0.07 nohead back \
                linecolor rgb series_rgb[s] linewidth 1.8
        }
    } }
    plot for [s = 1:n_series] $limit index s - 1 using (series_panel[s] == p ? $1 : NaN):2 with lines \
             linecolor rgb (models_share_panels ? series_rgb[s] : limit_rgb) dashtype limit_dash linewidth 1, \
         for [s = 1:n_series] $frontier index s - 1 using (series_panel[s] == p ? $1 : NaN):2 with steps \
             linecolor rgb series_rgb[s] dashtype series_dash[s] linewidth 1.2, \
         $labels index p - 1 using 4:5:6:7 with vectors nohead linecolor rgb quiet linewidth 0.6, \
         for [f = 0:1] data using ($1 == p && $3 == f ? $7 : NaN):8:9:10:16 with yerrorbars pointtype 0 pointsize 0 \
             linecolor rgb variable linewidth 1, \
         for [f = 0:1] data using ($1 == p && $3 == f ? $7 : NaN):8:15:16 with points \
             pointtype variable linecolor rgb variable pointsize (f ? 1.15 : 1), \
         $labels index p - 1 using 1:2:3:8 with labels left font label_font textcolor rgb variable noenhanced
}

# One invisible plot over the page, whose axes are points.
unset logscale
unset grid
unset arrow
unset object
unset xlabel
unset ylabel
set lmargin at screen 0; set rmargin at screen 1; set bmargin at screen 0; set tmargin at screen 1
unset border; unset tics
set xrange [0:width]
set yrange [0:height]
unset label
set label 1 figure_title at title_x, title_y left textcolor rgb ink font title_font noenhanced
do for [k = 1:n_captions] {
    set label 1 + k caption[k] at title_x, caption_y - (k - 1) * caption_step left textcolor rgb "#444444" \
        font caption_font noenhanced
}
do for [k = 1:n_lines] {
    half = 0.35 * font_size
    if (line_kind[k] eq "band") {
        set object k rectangle from line_x[k], line_y[k] - half to line_x[k] + line_length[k], line_y[k] + half \
            fillcolor rgb line_rgb[k] fillstyle solid noborder
    }
    if (line_kind[k] eq "tick") {
        set arrow k from line_x[k] + line_length[k] / 2, line_y[k] - half rto 0, 2 * half nohead \
            linecolor rgb line_rgb[k] linewidth 1.8
    }
    if (line_kind[k] eq "line") {
        set arrow k from line_x[k], line_y[k] rto line_length[k], 0 nohead \
            linecolor rgb line_rgb[k] dashtype line_dash[k] linewidth 1.2
    }
}
plot $legend index 0 using 1:2:3:4 with points pointtype variable linecolor rgb variable pointsize 1.1, \
     $legend index 1 using 1:2:3 with labels left textcolor rgb ink noenhanced
unset multiplot

# history.gp - series over time, a small panel for each: the value, its interval as a band, its levels as bars, and a mark
# where a value of quality changed or a new level of times begins.
#
# Before this text the program puts file names, sizes, scales, ticks and titles. To draw it again:
#     gnuplot -e 'kind = "png"' history-quality.gp
# kind is svg or png. Lengths are in points of the page; a terminal only scales them. Columns of the data: panel, time, value,
# low, high, level, changed; a block for each panel.

if (!exists("kind")) kind = "svg"
if (exists("folder")) data = folder . data # drawn from another folder than the data's
if (kind eq "svg") {
    scale = 1.85
    set terminal svg size scale * width, scale * height dynamic name "history" font sprintf("sans-serif,%g", scale * 7) \
        linewidth 1.5 background rgb "white"
} else {
    scale = 3
    set terminal pngcairo size scale * width, scale * height font sprintf("sans-serif,%g", scale * 7) \
        fontscale 0.75 linewidth 2.6 pointscale 2.2 background rgb "white"
}
set output base . "." . kind
ink = "#222222"; blue = "#0072b2"; light = "#cfe3f1"; orange = "#d55e00"; grey = "#e4e4e4"
set encoding utf8
set datafile separator "\t"
set datafile missing "NaN"
unset key
set multiplot

# The words around the panels: one invisible plot over the page, whose axes are points.
set lmargin at screen 0; set rmargin at screen 1; set bmargin at screen 0; set tmargin at screen 1
unset border; unset tics
set label 1 figure_title at 8, height - 14 left textcolor rgb ink font sprintf("sans-serif,%g", scale * 8.6) noenhanced
set label 2 caption at 8, height - 27 left textcolor rgb "#444444" font sprintf("sans-serif,%g", scale * 6) noenhanced
plot [0:width] [0:height] -1 notitle
unset label

set border 3 linecolor rgb ink linewidth 0.6
set grid xtics ytics linecolor rgb grey linewidth 0.5 linetype 1
set xrange [x_low:x_high]
set style fill solid 1 noborder
do for [p = 1:n_panels] {
    set lmargin at screen panel_left[p] / width; set rmargin at screen (panel_left[p] + panel_width) / width
    set bmargin at screen panel_bottom[p] / height; set tmargin at screen (panel_bottom[p] + panel_height) / height
    set label 3 panel_title[p] at graph 0, graph 1 offset 0, 0.6 left textcolor rgb ink noenhanced
    eval "set xtics (" . x_ticks . ") nomirror out scale 0.5 textcolor rgb ink"
    if (!panel_has_x[p]) { set xtics format ""; eval "set xtics (" . x_low . ") scale 0"; }
    set ytics panel_step[p] nomirror out scale 0.5 offset 0.4, 0 textcolor rgb ink format "%g"
    set yrange [panel_low[p]:panel_high[p]]
    many = panel_n[p] > 60
    plot data index p - 1 using 2:4:5 with filledcurves linecolor rgb light, \
         data index p - 1 using 2:(many ? NaN : $3):4:5 with yerrorbars pointtype 7 pointsize 0.01 linecolor rgb "#9cc4e0" \
             linewidth 0.8, \
         data index p - 1 using 2:3 with lines linecolor rgb blue linewidth (many ? 0.7 : 1), \
         data index p - 1 using 2:(many ? NaN : $3) with points pointtype 7 pointsize 0.45 linecolor rgb blue, \
         data index p - 1 using 2:6 with steps linecolor rgb ink linewidth 1.2, \
         data index p - 1 using 2:($7 == 1 ? $3 : NaN) with points pointtype 6 pointsize 0.9 linecolor rgb orange linewidth 1.2
}
unset multiplot

# SPDX-License-Identifier: Apache-2.0
# A bar a row, median with the least and largest run. Given: data, n, heading, here.
load here."common.gp"
set xlabel "one way (µs), median of runs; whiskers: least and largest run"
set grid noytics xtics lt -1 lw 0.5 lc rgb "#cccccc"
stats data using 4 nooutput
set xrange [0:1.12 * STATS_max]
set bmargin 4
set yrange [n-0.4:-0.6]
set border 1
set ytics scale 0
unset key
ours(label) = label[1:3] eq "DPI" ? 0xd62728 : 0x8aa6c1
plot data using ($2/2):0:($2/2):(0.33):(ours(strcol(1))):ytic(1) with boxxyerror fs solid lw 0 lc rgb variable, \
	data using 2:0:3:4 with xerrorbars pt 0 lw 2 lc rgb "#333333", \
	data using 4:0:(sprintf("  %.3g", $2)) with labels left

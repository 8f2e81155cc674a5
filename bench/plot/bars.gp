# SPDX-License-Identifier: Apache-2.0
# A bar a row, median with the least and largest run. Given: data, n, heading, metric, here.
load here."common.gp"
scale = 1.0
what = metric
if (metric eq "one_way_us") { what = "one way (µs)" }
if (metric eq "join_ms") { what = "join (ms)" }
if (metric eq "sent_bytes") { what = "rows that travel (MB)"; scale = 1e-6 }
if (metric eq "bytes_per_row") { what = "bytes that travel for a row" }
if (metric eq "records_per_s") { what = "million rows/s"; scale = 1e-6 }
set xlabel what.", median of runs; whiskers: least and largest run"
set grid noytics xtics lt -1 lw 0.5 lc rgb "#cccccc"
stats data using 4 nooutput
set xrange [0:1.12 * scale * STATS_max]
set bmargin 4
set yrange [n-0.4:-0.6]
set border 1
set ytics scale 0
unset key
ours(label) = label[1:3] eq "DPI" ? 0xd62728 : 0x8aa6c1
plot data using (scale*$2/2):0:(scale*$2/2):(0.33):(ours(strcol(1))):ytic(1) with boxxyerror fs solid lw 0 lc rgb variable, \
	data using (scale*$2):0:(scale*$3):(scale*$4) with xerrorbars pt 0 lw 2 lc rgb "#333333", \
	data using (scale*$4):0:(sprintf("  %.3g", scale*$2)) with labels left

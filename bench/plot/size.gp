# SPDX-License-Identifier: Apache-2.0
# Bytes per second by record size, both logarithmic. Given: data, n, heading, here.
load here."common.gp"
set logscale x 2
set logscale y 10
set xlabel "record size"
set ylabel "throughput (GB/s)"
set xtics ("8 B" 8, "16 B" 16, "32 B" 32, "64 B" 64, "128 B" 128, "256 B" 256, "512 B" 512, "1 KiB" 1024, "2 KiB" 2048, \
	"4 KiB" 4096, "8 KiB" 8192, "16 KiB" 16384)
stats data using 1 nooutput
set xrange [7:1.15 * STATS_max]
set format y "%g"
set mytics 10
set grid ytics mytics lt -1 lw 0.75 lc rgb "#bbbbbb", lt -1 lw 0.5 lc rgb "#e6e6e6"
plot for [i = 0:n-1] data index i using 1:($2/1e9) with linespoints lt colour(label(i)) title label(i)

# SPDX-License-Identifier: Apache-2.0
# Rows per second by number of processes, logarithmic. Given: data, n, heading, here.
load here."common.gp"
set logscale x 2
set xlabel "processes"
set ylabel "throughput (million rows/s)"
set xtics ("2" 2, "4" 4, "8" 8, "16" 16)
set xrange [1.7:18.8]
set logscale y 10
set format y "%g"
set mytics 10
set grid ytics mytics lt -1 lw 0.75 lc rgb "#bbbbbb", lt -1 lw 0.5 lc rgb "#e6e6e6"
plot for [i = 0:n-1] data index i using 1:($2/1e6) with linespoints lt colour(label(i)) title label(i)

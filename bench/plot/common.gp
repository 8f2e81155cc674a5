# SPDX-License-Identifier: Apache-2.0
# Colours told apart by the colour-blind too; ours is drawn first and thickest.
set linetype 1 lc rgb "#d62728" lw 4 pt 7
set linetype 2 lc rgb "#333333" lw 2 pt 5
set linetype 3 lc rgb "#1f77b4" lw 2 pt 9
set linetype 4 lc rgb "#ff9f1c" lw 4 pt 13
set linetype 5 lc rgb "#7f7f7f" lw 2 pt 4
set linetype 6 lc rgb "#2ca02c" lw 2 pt 11
set linetype 7 lc rgb "#8c1d40" lw 4 pt 6
set linetype 8 lc rgb "#17becf" lw 2 pt 8
set linetype 9 lc rgb "#9467bd" lw 4 pt 3
set linetype 10 lc rgb "#98df8a" lw 2 pt 10
# A series keeps its colour when another was skipped.
colour(label) = label eq "DPI, radix" || label eq "DPI, tcp, flow, blocking" || label eq "DPI, shm, append" ? 7 : label eq "DPI, range" ? 4 : \
	label[1:17] eq "DPI, tcp, batches" ? 9 : label eq "DPI, ten greatest" ? 7 : label eq "by hand, ten greatest" ? 5 : label[1:7] eq "by hand" ? 2 : \
	label eq "DuckDB, ten greatest" || strstrt(label, "MPI_Bcast") || strstrt(label, "MPI_Ibcast") ? 8 : strstrt(label, "published") ? 10 : \
	label eq "DPI, hash" || label eq "DPI, least" ? 1 : label eq "memcpy" || label eq "cache line by hand" ? 2 : label eq "raw socket, blocking" || strstrt(label, "MPI_Reduce") ? 8 : \
	label[1:17] eq "DPI, shm, batches" ? 7 : label[1:8] eq "DPI, shm" ? 1 : label[1:8] eq "DPI, tcp" ? 4 : strstrt(label, "alltoall") ? 8 : label[1:8] eq "raw ring" ? 2 : \
	label[1:8] eq "raw sock" ? 5 : label[1:6] eq "ZeroMQ" ? 6 : strstrt(label, "put") ? 6 : 3
label(i) = system(sprintf("awk '/^\"/ { if (n++ == %d) { gsub(/\"/, \"\"); print } }' '%s'", i, data))
set title heading font ",18" offset 0,0.5
set border 3 lc rgb "#555555"
set tics nomirror
set grid ytics lt -1 lw 0.5 lc rgb "#cccccc"
set key at screen 0.5, screen 0.02 center bottom horizontal Left reverse spacing 1.3 samplen 2 maxcols 3 noenhanced
set bmargin 8

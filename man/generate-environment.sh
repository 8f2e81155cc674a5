#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Print dpi_environment(7): a header, the table of settings, a footer. The table is what 'dpi-info --man-settings' prints: an mdoc list from
# .Bl to .El with an item '.It Ev DPI_NAME' a setting. To be run after a change of the table:
#	man/generate-environment.sh >man/man7/dpi_environment.7
cd "$(dirname "$0")/.." || exit 2
info=${BUILD:-build}/bin/dpi-info
table=$("$info" --man-settings) && [ "$table" ] || {
	echo "generate-environment.sh: '$info --man-settings' printed nothing: run make first" >&2
	exit 1
}
cat <<'END'
.\" SPDX-License-Identifier: Apache-2.0
.\" Made by man/generate-environment.sh from the table of settings; do not edit.
.Dd November 21, 2026
.Dt DPI_ENVIRONMENT 7
.Os libdpi
.Sh NAME
.Nm dpi_environment
.Nd settings of the Data Processing Interface
.Sh DESCRIPTION
A setting is a named text that changes how the library works.
It is given, the first that is found going before the others,
.Bl -enum
.It
in the call
.Fn DPI_Init_With ,
as
.Ql name=value ;
.It
by an environment variable with the setting's name;
.It
by the cluster file or the launcher;
.It
by the default below.
.El
.Pp
In the call and for
.Xr DPI_Get_Setting 3
the prefix
.Ql DPI_
may be left out, and case does not matter.
.Pp
A time is a number of microseconds or has a unit:
.Ql us ,
.Ql ms ,
.Ql s
or
.Ql min .
A size is a number of bytes or has
.Ql k ,
.Ql m
or
.Ql g ,
for 1024, 1024\(S2 or 1024\(S3 bytes.
.Pp
A value that is not wholly of its kind makes
.Xr DPI_Init 3
return
.Dv DPI_ERR_CONFIG .
An environment variable that begins with
.Ql DPI_
and is no setting is warned of on standard error.
.Pp
.Ql "dpi-info --settings"
prints the value in force of each and where it came from.
.Sh ENVIRONMENT
END
printf '%s\n' "$table"
cat <<'END'
.Sh EXAMPLES
Forbid shared memory, wait longer, and see what the library does:
.Bd -literal -offset indent
$ DPI_TRANSPORT=tcp DPI_TIMEOUT=2min DPI_LOG=debug dpirun -n 4 ./hello
.Ed
.Sh SEE ALSO
.Xr dpi-info 1 ,
.Xr dpirun 1 ,
.Xr DPI_Get_Setting 3 ,
.Xr DPI_Init 3 ,
.Xr dpi 7 ,
.Xr dpi_transport 7
END

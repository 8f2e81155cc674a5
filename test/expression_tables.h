/* SPDX-License-Identifier: Apache-2.0
 * expression_tables.h: what expressions of annex B give, for the conformance tests, which ask by flows, and for the unit tests, which ask the
 * compiler. Each is over one row of these columns:
 *
 *	i 7, none NULL, "Two Words" 7, case_ 7, Case_ 7: INT64		u 5: UINT64		small -3: INT8, never NULL
 *	dec 123.45: DECIMAL(15,2)					x 2.5: DOUBLE		d 2020-02-29: DATE
 *	t Grün: UTF8							bin Grün: BINARY	yes TRUE: BOOL */
#ifndef EXPRESSION_TABLES_H
#define EXPRESSION_TABLES_H

#include <stddef.h>

struct expression_case {
	const char *text;
	const char *type;  /* NULL: no expression; value is what the sentence has of the place and of the reason */
	const char *value; /* "!why": the row has an error */
};

static const struct expression_case expression_literals[] = {
	{ "1", "INT64", "1" }, { "-9223372036854775808", "INT64", "-9223372036854775808" },
	{ "9223372036854775808", "UINT64", "9223372036854775808" }, { "18446744073709551616", "DECIMAL(20,0)", "18446744073709551616" },
	{ "-18446744073709551615", "DECIMAL(20,0)", "-18446744073709551615" }, { "1.50", "DECIMAL(3,2)", "1.50" }, { ".05", "DECIMAL(2,2)", "0.05" },
	{ "-0.5", "DECIMAL(1,1)", "-0.5" }, { "1e3", "DOUBLE", "1000" }, { "2.5E-1", "DOUBLE", "0.25" }, { "'it''s'", "UTF8", "it's" },
	{ "''", "UTF8", "" }, { "DATE '2020-02-29'", "DATE", "2020-02-29" }, { "true", "BOOL", "true" }, { "False", "BOOL", "false" },
	{ "CAST(NULL AS DATE)", "DATE", "NULL" }, { "- 3", "INT64", "-3" }, { "+3", "INT64", "3" },
	{ "99999999999999999999999999999999999999", "DECIMAL(38,0)", "99999999999999999999999999999999999999" },
	{ "caSe whEN yes\tTHEN\n1 enD", "INT64", "1" }, { "DATE '0000-02-29'", "DATE", "0000-02-29" },
};

static const struct expression_case expression_names[] = {
	{ "I", "INT64", "7" }, { "\"i\" + 1", "INT64", "8" }, { "\"Two Words\"", "INT64", "7" }, { "case_", "INT64", "7" },
	{ "Case_ + case_", "INT64", "14" }, { "CASE_", NULL, "character 1: more than one column is named 'CASE_'" },
	{ "\"I\"", NULL, "character 1: no column is named 'I'" }, { "1 + y", NULL, "character 5: no column is named 'y'" },
};

static const struct expression_case expression_errors[] = {
	{ "", NULL, "character 1: the expression ends where it needs a value" }, { "'ü' + * 2", NULL, "character 7: '*' stands where" },
	{ "i +", NULL, "character 4: the expression ends" }, { "(i", NULL, "character 3: the expression ends where it needs ')'" },
	{ "i i", NULL, "character 3: 'i' stands where the expression needs its end" }, { "'abc", NULL, "character 1: the string has no end" },
	{ "i + \"abc", NULL, "character 5: the name has no end" }, { "12ab", NULL, "character 1: letters follow a number" },
	{ "i --2", NULL, "character 3: -- begins a comment in SQL" }, { "i ? 2", NULL, "character 3: this character begins nothing" },
	{ "i + t", NULL, "character 5: arithmetic needs numbers, not UTF8" }, { "t < i", NULL, "UTF8 and INT64 do not go together" },
	{ "i AND yes", NULL, "character 1: INT64 stands where a value of type BOOL must" },
	{ "CASE WHEN i THEN 1 END", NULL, "character 11: INT64 stands where" }, { "CASE WHEN yes THEN NULL END", NULL, "every value is NULL" },
	{ "NULL", NULL, "character 1: the expression is NULL without a type" }, { "FROB(i)", NULL, "character 1: 'FROB' stands where" },
	{ "SQRT(1, 2)", NULL, "character 1: SQRT has 1 to 1 arguments, not 2" },
	{ "CAST(yes AS DATE)", NULL, "character 1: BOOL cannot be cast to DATE" },
	{ "CAST(i AS STRING)", NULL, "character 11: 'STRING' stands where the expression needs a type" },
	{ "d = '2020-02-30'", NULL, "character 5: this is no date" }, { "DATE '2020-13-01'", NULL, "character 6: this is no date" },
	{ "t LIKE 'a' ESCAPE 'xy'", NULL, "character 19: ESCAPE needs a string of one character" },
	{ "t LIKE 'a' ESCAPE '\x84\x84\x84\x84\x84\x84\x84\x84\x84\x84\x84\x84'", NULL, "character 20: the text is not UTF-8" },
	{ "EXTRACT(hour FROM d)", NULL, "character 9: 'hour' stands where" }, { "DATE_TRUNC('hour', d)", NULL, "character 12: this is no unit" },
	{ "123456789012345678901234567890123456789", NULL, "character 1: the number has more than 38 digits" },
	{ "1e999", NULL, "character 1: the number is too large" }, { "i IS 3", NULL, "character 6: '3' stands where" },
	{ "\xff", NULL, "character 1: the text is not UTF-8" },
	{ "dec * CAST(1 AS DECIMAL(38,37))", NULL, "character 5: the product has 39 digits behind the point" },
};

static const struct expression_case expression_precedence[] = {
	{ "2 + 3 * 4", "INT64", "14" }, { "(2 + 3) * 4", "INT64", "20" }, { "10 - 3 - 2", "INT64", "5" }, { "-i * 2", "INT64", "-14" },
	{ "- -i", "INT64", "7" }, { "NOT yes OR yes", "BOOL", "true" }, { "TRUE OR TRUE AND FALSE", "BOOL", "true" },
	{ "NOT i = 8 AND yes", "BOOL", "true" }, { "i = 7 IS NULL", "BOOL", "false" }, { "1 + 1 BETWEEN 2 AND 2 * 1", "BOOL", "true" },
	{ "'a' || 'b' = 'ab'", "BOOL", "true" }, { "i NOT IN (1, 2) AND i NOT BETWEEN 1 AND 2", "BOOL", "true" }, { "8 / 2 / 2", "INT64", "2" },
	{ "7 % 4 * 2", "INT64", "6" }, { "t NOT LIKE 'x%' = yes", "BOOL", "true" }, { "NOT NOT yes", "BOOL", "true" },
	{ "i = 7 = yes", "BOOL", "true" }, { "1 < 2 IS NOT NULL", "BOOL", "true" }, { "i BETWEEN 1 AND 9 AND yes", "BOOL", "true" },
	{ "2 - -i", "INT64", "9" }, { "i <> 7 OR i != 7 OR i >= 8 OR i <= 6", "BOOL", "false" },
};

static const struct expression_case expression_nulls[] = {
	{ "none + 1", "INT64", "NULL" }, { "none = none", "BOOL", "NULL" }, { "NULL = NULL", "BOOL", "NULL" }, { "NOT none = 1", "BOOL", "NULL" },
	{ "none = 1 AND FALSE", "BOOL", "false" }, { "FALSE AND none = 1", "BOOL", "false" }, { "none = 1 AND TRUE", "BOOL", "NULL" },
	{ "none = 1 OR TRUE", "BOOL", "true" }, { "none = 1 OR FALSE", "BOOL", "NULL" }, { "none IS NULL", "BOOL", "true" },
	{ "i IS NOT NULL", "BOOL", "true" }, { "none IS DISTINCT FROM none", "BOOL", "false" }, { "none IS DISTINCT FROM 1", "BOOL", "true" },
	{ "i IS NOT DISTINCT FROM 7", "BOOL", "true" }, { "none = 1 IS TRUE", "BOOL", "false" }, { "none = 1 IS NOT FALSE", "BOOL", "true" },
	{ "i IN (1, NULL)", "BOOL", "NULL" }, { "i IN (1, NULL, 7)", "BOOL", "true" }, { "i NOT IN (1, NULL)", "BOOL", "NULL" },
	{ "none IN (1)", "BOOL", "NULL" }, { "i IN (i - 1, i)", "BOOL", "true" }, { "none BETWEEN 1 AND 2", "BOOL", "NULL" },
	{ "i BETWEEN 8 AND none", "BOOL", "false" }, { "i BETWEEN none AND 3", "BOOL", "false" }, { "i BETWEEN 1 AND none", "BOOL", "NULL" },
	{ "CASE WHEN none = 1 THEN 'a' ELSE 'b' END", "UTF8", "b" }, { "CASE i WHEN 6 THEN 'a' WHEN 7 THEN 'b' END", "UTF8", "b" },
	{ "CASE none WHEN NULL THEN 1 END", "INT64", "NULL" }, { "COALESCE(none, NULL, i)", "INT64", "7" }, { "COALESCE(none)", "INT64", "NULL" },
	{ "NULLIF(i, 7)", "INT64", "NULL" }, { "NULLIF(i, none)", "INT64", "7" }, { "NULLIF(none, 7)", "INT64", "NULL" },
	{ "LEAST(none, 9, i)", "INT64", "7" }, { "GREATEST(i, none)", "INT64", "7" }, { "LEAST(none, NULL)", "INT64", "NULL" },
	{ "GREATEST('a', t, 'b')", "UTF8", "b" }, { "CONCAT('a', NULL, t)", "UTF8", "aGrün" }, { "CONCAT(NULL)", "UTF8", "" },
	{ "'a' || NULL", "UTF8", "NULL" }, { "FALSE OR NULL", "BOOL", "NULL" }, { "TRUE AND NULL", "BOOL", "NULL" },
	{ "NULL AND FALSE", "BOOL", "false" }, { "NULL OR TRUE", "BOOL", "true" }, { "none IS NOT DISTINCT FROM NULL", "BOOL", "true" },
	{ "NULLIF(i, 8)", "INT64", "7" }, { "LENGTH(NULL)", "INT64", "NULL" }, { "none NOT BETWEEN 1 AND 2", "BOOL", "NULL" },
	{ "i NOT BETWEEN 8 AND none", "BOOL", "true" }, { "CASE WHEN none = 1 THEN 1 WHEN yes THEN 2 WHEN yes THEN 3 END", "INT64", "2" },
	{ "ABS(none)", "INT64", "NULL" }, { "CAST(none AS UTF8)", "UTF8", "NULL" }, { "d + none", "DATE", "NULL" },
};

static const struct expression_case expression_integers[] = {
	{ "small + small", "INT64", "-6" }, { "u + 1", "UINT64", "6" }, { "u - 6", "UINT64", "!overflow" }, { "u + i", "DECIMAL(21,0)", "12" },
	{ "u - i", "DECIMAL(21,0)", "-2" }, { "u / 2", "UINT64", "2" }, { "u / i", "DECIMAL(20,0)", "0" }, { "-u", "DECIMAL(20,0)", "-5" },
	{ "u * -1", "DECIMAL(21,0)", "-5" }, { "i / 2", "INT64", "3" }, { "-i / 2", "INT64", "-3" }, { "i % 4", "INT64", "3" },
	{ "-i % 4", "INT64", "-3" }, { "MOD(i, -4)", "INT64", "3" }, { "i / 0", "INT64", "!division by zero" },
	{ "i % 0", "INT64", "!division by zero" }, { "9223372036854775807 + 1", "INT64", "!overflow" },
	{ "-9223372036854775808 - 1", "INT64", "!overflow" }, { "(-9223372036854775807 - 1) / -1", "INT64", "!overflow" },
	{ "(-9223372036854775807 - 1) % -1", "INT64", "0" }, { "-(-9223372036854775807 - 1)", "INT64", "!overflow" },
	{ "ABS(-9223372036854775807 - 1)", "INT64", "!overflow" }, { "3037000500 * 3037000500", "INT64", "!overflow" },
	{ "3037000499 * 3037000499", "INT64", "9223372030926249001" }, { "small = 200", "BOOL", "false" }, { "u > -1", "BOOL", "true" },
	{ "CAST(3 AS INT8) < u", "BOOL", "true" }, { "COALESCE(small, 1)", "INT8", "-3" }, { "COALESCE(small, 1000)", "INT64", "-3" },
	{ "CASE WHEN yes THEN u ELSE i END", "DECIMAL(20,0)", "5" }, { "CASE WHEN yes THEN small ELSE CAST(1 AS UINT8) END", "INT16", "-3" },
	{ "COALESCE(CAST(1 AS UINT32), small)", "INT64", "1" }, { "COALESCE(CAST(1 AS INT16), CAST(1 AS INT32))", "INT32", "1" },
	{ "COALESCE(CAST(1 AS UINT8), CAST(1 AS UINT16))", "UINT16", "1" }, { "COALESCE(CAST(1 AS UINT16), small)", "INT32", "1" },
	{ "COALESCE(small, CAST(1 AS FLOAT))", "DOUBLE", "-3" }, { "COALESCE(small, 1.25)", "DECIMAL(5,2)", "-3.00" },
	{ "COALESCE(CAST(1 AS DECIMAL(38,0)), 0.5)", "DOUBLE", "1" }, { "COALESCE(CAST('ab' AS FIXED(2)), bin)", "BINARY", "ab" },
	{ "COALESCE(none, small)", "INT64", "-3" }, { "COALESCE(d, '2020-01-01')", "DATE", "2020-02-29" },
	{ "18446744073709551615 + 1", "UINT64", "!overflow" }, { "-7 % -4", "INT64", "-3" }, { "-7 / 2", "INT64", "-3" },
	{ "u * 4000000000000000000", "UINT64", "!overflow" },
};

static const struct expression_case expression_decimals[] = {
	{ "dec", "DECIMAL(15,2)", "123.45" }, { "dec + 1", "DECIMAL(16,2)", "124.45" }, { "dec - 0.005", "DECIMAL(17,3)", "123.445" },
	{ "dec * 1.5", "DECIMAL(17,3)", "185.175" }, { "dec * (1 - 0.05)", "DECIMAL(18,4)", "117.2775" },
	{ "dec * dec", "DECIMAL(18,4)", "15239.9025" }, { "dec * i", "DECIMAL(34,2)", "864.15" }, { "dec % 100", "DECIMAL(15,2)", "23.45" },
	{ "-dec % 100", "DECIMAL(15,2)", "-23.45" }, { "dec / 2", "DOUBLE", "61.725" }, { "dec / 0", "DOUBLE", "!division by zero" },
	{ "-dec", "DECIMAL(15,2)", "-123.45" }, { "dec + x", "DOUBLE", "125.95" }, { "dec = 123.45", "BOOL", "true" },
	{ "dec > 123", "BOOL", "true" }, { "dec = 123.450000", "BOOL", "true" },
	{ "999999999999999999.0 + 1", "DECIMAL(20,1)", "1000000000000000000.0" },
	{ "CAST(999999999999999999 AS DECIMAL(18,0)) + CAST(1 AS DECIMAL(18,0))", "DECIMAL(18,0)", "!overflow" },
	{ "99999999999999999999999999999999999999 + 1", "DECIMAL(38,0)", "!overflow" },
	{ "CAST(1e10 AS DECIMAL(18,0)) * CAST(1e10 AS DECIMAL(18,0))", "DECIMAL(18,0)", "!overflow" }, { "ROUND(dec, 1)", "DECIMAL(15,1)", "123.5" },
	{ "ROUND(-dec, 1)", "DECIMAL(15,1)", "-123.5" }, { "ROUND(dec)", "DECIMAL(14,0)", "123" }, { "ROUND(dec, 5)", "DECIMAL(15,2)", "123.45" },
	{ "FLOOR(-dec)", "DECIMAL(14,0)", "-124" }, { "CEIL(dec)", "DECIMAL(14,0)", "124" }, { "ABS(-dec)", "DECIMAL(15,2)", "123.45" },
	{ "SIGN(-dec)", "INT64", "-1" }, { "LEAST(dec, 100)", "DECIMAL(15,2)", "100.00" }, { "COALESCE(dec, 0.005)", "DECIMAL(16,3)", "123.450" },
	{ "1.25 * 1.25", "DECIMAL(6,4)", "1.5625" }, { "0.1 + 0.20", "DECIMAL(3,2)", "0.30" }, { "ROUND(0.125, 2)", "DECIMAL(3,2)", "0.13" },
	{ "CAST(5 AS DECIMAL(20,2)) + 1", "DECIMAL(21,2)", "6.00" }, { "CAST(5 AS DECIMAL(20,2)) * 1.5", "DECIMAL(22,3)", "7.500" },
	{ "FLOOR(dec)", "DECIMAL(14,0)", "123" },
};

static const struct expression_case expression_doubles[] = {
	{ "x * 2", "DOUBLE", "5" }, { "x / 0", "DOUBLE", "!division by zero" }, { "x % 2", "DOUBLE", "0.5" }, { "1e308 * 10", "DOUBLE", "inf" },
	{ "CAST('nan' AS DOUBLE) = CAST('nan' AS DOUBLE)", "BOOL", "true" }, { "CAST('nan' AS DOUBLE) > CAST('inf' AS DOUBLE)", "BOOL", "true" },
	{ "GREATEST(x, CAST('nan' AS DOUBLE))", "DOUBLE", "nan" }, { "0e0 = -0e0", "BOOL", "true" },
	{ "CAST(x AS FLOAT) + CAST(1 AS FLOAT)", "DOUBLE", "3.5" }, { "ROUND(x)", "DOUBLE", "3" }, { "ROUND(-x)", "DOUBLE", "-3" },
	{ "ROUND(1e0 / 3, 2)", "DOUBLE", "0.33" }, { "FLOOR(-x)", "DOUBLE", "-3" }, { "CEIL(-x)", "DOUBLE", "-2" },
	{ "SQRT(x + 3.75)", "DOUBLE", "2.5" }, { "SQRT(-x)", "DOUBLE", "!function's domain" }, { "POWER(x, 2)", "DOUBLE", "6.25" },
	{ "POWER(2, 0.5)", "DOUBLE", "1.4142135623730951" }, { "POWER(0, -1)", "DOUBLE", "!division by zero" },
	{ "POWER(-1, 0.5)", "DOUBLE", "!function's domain" }, { "POWER(10, 400)", "DOUBLE", "!overflow" }, { "SIGN(-x)", "INT64", "-1" },
	{ "x > i", "BOOL", "false" }, { "t < 'Grz'", "BOOL", "false" }, { "'a' < 'ab'", "BOOL", "true" }, { "FALSE < TRUE", "BOOL", "true" },
	{ "x + 0.1", "DOUBLE", "2.6" }, { "-x % 2", "DOUBLE", "-0.5" }, { "x % 0", "DOUBLE", "!division by zero" },
	{ "CAST('-inf' AS DOUBLE) < x", "BOOL", "true" }, { "CAST('nan' AS DOUBLE) < 1", "BOOL", "false" },
	{ "bin = CAST(t AS BINARY)", "BOOL", "true" }, { "'ü' > 'z'", "BOOL", "true" }, { "d >= DATE '2020-02-29'", "BOOL", "true" },
};

static const struct expression_case expression_casts[] = {
	{ "CAST(2.5 AS INT64)", "INT64", "3" }, { "CAST(-2.5 AS INT64)", "INT64", "-3" }, { "CAST(-x AS INT32)", "INT32", "-3" },
	{ "CAST(300 AS UINT8)", "UINT8", "!overflow" }, { "CAST(-1 AS UINT64)", "UINT64", "!overflow" },
	{ "CAST(1e19 AS INT64)", "INT64", "!overflow" }, { "CAST(dec AS DECIMAL(5,1))", "DECIMAL(5,1)", "123.5" },
	{ "CAST(dec AS DECIMAL(4,2))", "DECIMAL(4,2)", "!overflow" }, { "CAST(x AS DECIMAL(5,3))", "DECIMAL(5,3)", "2.500" },
	{ "CAST('1.255' AS DECIMAL(5,2))", "DECIMAL(5,2)", "1.26" }, { "CAST('1.25e2' AS DECIMAL(5,2))", "DECIMAL(5,2)", "125.00" },
	{ "CAST(' 42 ' AS INT8)", "INT8", "42" }, { "CAST('4x' AS INT8)", "INT8", "!cannot be cast" },
	{ "CAST('128' AS INT8)", "INT8", "!overflow" }, { "CAST('-0' AS UINT64)", "UINT64", "0" },
	{ "CAST('18446744073709551615' AS UINT64)", "UINT64", "18446744073709551615" }, { "CAST('4.0' AS INT64)", "INT64", "!cannot be cast" },
	{ "CAST('1e3' AS DOUBLE)", "DOUBLE", "1000" }, { "CAST('1e400' AS DOUBLE)", "DOUBLE", "!cannot be cast" },
	{ "CAST('-Infinity' AS DOUBLE)", "DOUBLE", "-inf" }, { "CAST(1e39 AS FLOAT)", "FLOAT", "!overflow" },
	{ "CAST(0.1 AS FLOAT)", "FLOAT", "0.1" }, { "CAST('TRUE' AS BOOL)", "BOOL", "true" }, { "CAST('f' AS BOOL)", "BOOL", "false" },
	{ "CAST('yes' AS BOOL)", "BOOL", "!cannot be cast" }, { "CAST(5 AS BOOL)", "BOOL", "true" }, { "CAST(yes AS INT8)", "INT8", "1" },
	{ "CAST(i AS UTF8)", "UTF8", "7" }, { "CAST(-dec AS TEXT)", "UTF8", "-123.45" }, { "CAST(0.05 AS TEXT)", "UTF8", "0.05" },
	{ "CAST(1e0 / 3 AS TEXT)", "UTF8", "0.3333333333333333" }, { "CAST(1e100 AS TEXT)", "UTF8", "1e+100" },
	{ "CAST(CAST(0.1 AS FLOAT) AS TEXT)", "UTF8", "0.1" }, { "CAST(yes AS TEXT)", "UTF8", "true" }, { "CAST(d AS TEXT)", "UTF8", "2020-02-29" },
	{ "CAST('-0044-03-15' AS DATE)", "DATE", "-0044-03-15" }, { "CAST('10000-01-01' AS DATE)", "DATE", "10000-01-01" },
	{ "CAST('2021-02-29' AS DATE)", "DATE", "!cannot be cast" }, { "CAST('abc' AS FIXED(3))", "FIXED(3)", "abc" },
	{ "CAST(t AS FIXED(3))", "FIXED(3)", "!cannot be cast" }, { "CAST(CAST(t AS BINARY) AS UTF8)", "UTF8", "Grün" },
	{ "CAST(SUBSTRING(bin, 4) AS UTF8)", "UTF8", "!cannot be cast" }, { "CAST(NULL AS DECIMAL(38,3))", "DECIMAL(38,3)", "NULL" },
	{ "CAST(1 AS BOOLEAN)", "BOOL", "true" }, { "CAST(i AS TINYINT)", "INT8", "7" }, { "CAST(i AS SMALLINT)", "INT16", "7" },
	{ "CAST(i AS INT)", "INT32", "7" }, { "CAST(i AS INTEGER)", "INT32", "7" }, { "CAST(i AS BIGINT)", "INT64", "7" },
	{ "CAST(i AS REAL)", "FLOAT", "7" }, { "CAST(i AS DOUBLE PRECISION)", "DOUBLE", "7" }, { "CAST(i AS NUMERIC(4,1))", "DECIMAL(4,1)", "7.0" },
	{ "CAST(i AS DECIMAL)", "DECIMAL(18,3)", "7.000" }, { "CAST(i AS DECIMAL(4))", "DECIMAL(4,0)", "7" },
	{ "CAST(t AS BLOB)", "BINARY", "Grün" }, { "CAST(i AS VARCHAR)", "UTF8", "7" }, { "CAST(0.5 AS INT8)", "INT8", "1" },
	{ "CAST(-0.5 AS INT8)", "INT8", "-1" }, { "CAST(' \t t ' AS BOOL)", "BOOL", "true" }, { "CAST('+5' AS UINT8)", "UINT8", "5" },
	{ "CAST('2.5' AS DOUBLE)", "DOUBLE", "2.5" }, { "CAST('nan' AS INT8)", "INT8", "!cannot be cast" },
	{ "CAST(CAST('nan' AS DOUBLE) AS INT64)", "INT64", "!overflow" }, { "CAST(1e5 AS TEXT)", "UTF8", "100000" },
	{ "CAST(0 AS BOOL)", "BOOL", "false" },
};

static const struct expression_case expression_text[] = {
	{ "LENGTH(t)", "INT64", "4" }, { "OCTET_LENGTH(t)", "INT64", "5" }, { "LENGTH(bin)", "INT64", "5" }, { "UPPER(t)", "UTF8", "GRüN" },
	{ "LOWER(t)", "UTF8", "grün" }, { "SUBSTRING(t, 2)", "UTF8", "rün" }, { "SUBSTRING(t, 3, 1)", "UTF8", "ü" },
	{ "SUBSTRING(t FROM 0 FOR 2)", "UTF8", "G" }, { "SUBSTRING(t, -5)", "UTF8", "Grün" }, { "SUBSTRING(t, 9)", "UTF8", "" },
	{ "SUBSTRING(t, 1, -1)", "UTF8", "!function's domain" }, { "SUBSTRING(t, 2, 9223372036854775807)", "UTF8", "rün" },
	{ "TRIM('  a b ')", "UTF8", "a b" }, { "LTRIM('xxaxx', 'x')", "UTF8", "axx" }, { "RTRIM('aüü', 'ü')", "UTF8", "a" },
	{ "TRIM(LEADING 'ab' FROM 'abba-ab')", "UTF8", "-ab" }, { "TRIM(BOTH FROM ' 1')", "UTF8", "1" }, { "t || '!'", "UTF8", "Grün!" },
	{ "STARTS_WITH(t, 'Gr')", "BOOL", "true" }, { "POSITION('n' IN t)", "INT64", "4" }, { "POSITION('x', t)", "INT64", "0" },
	{ "POSITION('' IN t)", "INT64", "1" }, { "t LIKE 'Gr_n'", "BOOL", "true" }, { "t LIKE 'G%n'", "BOOL", "true" },
	{ "t LIKE 'g%'", "BOOL", "false" }, { "t LIKE '%'", "BOOL", "true" }, { "t LIKE '%rü%'", "BOOL", "true" },
	{ "t LIKE '____'", "BOOL", "true" }, { "t LIKE '_____'", "BOOL", "false" }, { "'5%' LIKE '5\\%' ESCAPE '\\'", "BOOL", "true" },
	{ "'5x' LIKE '5\\%' ESCAPE '\\'", "BOOL", "false" }, { "'a' LIKE 'aé' ESCAPE 'é'", "BOOL", "!pattern" },
	{ "'aXbXc' LIKE '%X%X_'", "BOOL", "true" }, { "t NOT LIKE 'G%'", "BOOL", "false" }, { "'' LIKE '%'", "BOOL", "true" },
	{ "'' LIKE '_'", "BOOL", "false" }, { "'a\\b' LIKE 'a\\b'", "BOOL", "true" },
	{ "SUBSTRING(bin, 3, 2) = CAST('ü' AS BINARY)", "BOOL", "true" }, { "STARTS_WITH(t, 'r')", "BOOL", "false" },
	{ "STARTS_WITH(t, '')", "BOOL", "true" },
};

static const struct expression_case expression_text_arguments[] = {
	{ "TRIM(1)", NULL, "character 6: INT64" }, { "t || bin", NULL, "do not go together" },
	{ "bin LIKE 'a'", NULL, "stands where a value of type UTF8 must" },
};

static const struct expression_case expression_dates[] = {
	{ "d + 1", "DATE", "2020-03-01" }, { "1 + d", "DATE", "2020-03-01" }, { "d - 60", "DATE", "2019-12-31" },
	{ "d - DATE '2019-02-28'", "INT64", "366" }, { "d - '2020-02-28'", "INT64", "1" }, { "d < '2020-03-01'", "BOOL", "true" },
	{ "d + 3000000000", "DATE", "!overflow" }, { "EXTRACT(year FROM d)", "INT64", "2020" }, { "EXTRACT(quarter FROM d)", "INT64", "1" },
	{ "EXTRACT(MONTH FROM d)", "INT64", "2" }, { "EXTRACT(day FROM d)", "INT64", "29" }, { "EXTRACT(dow FROM d)", "INT64", "6" },
	{ "EXTRACT(doy FROM d)", "INT64", "60" }, { "DATE_TRUNC('year', d)", "DATE", "2020-01-01" },
	{ "DATE_TRUNC('quarter', d)", "DATE", "2020-01-01" }, { "DATE_TRUNC('month', d)", "DATE", "2020-02-01" },
	{ "DATE_TRUNC('week', d)", "DATE", "2020-02-24" }, { "DATE_TRUNC('day', d)", "DATE", "2020-02-29" },
	{ "DATE_ADD('month', 12, d)", "DATE", "2021-02-28" }, { "DATE_ADD('month', -1, DATE '2020-03-31')", "DATE", "2020-02-29" },
	{ "DATE_ADD('year', 4, d)", "DATE", "2024-02-29" }, { "DATE_ADD('quarter', 1, d)", "DATE", "2020-05-29" },
	{ "DATE_ADD('week', 2, d)", "DATE", "2020-03-14" }, { "DATE_ADD('day', -29, d)", "DATE", "2020-01-31" },
	{ "DATE_ADD('month', 9223372036854775807, d)", "DATE", "!overflow" }, { "EXTRACT(dow FROM DATE '1969-12-31')", "INT64", "3" },
	{ "d * 2", NULL, "character 3: a date goes with + and - days" }, { "DATE_ADD('quarter', -1, DATE '2020-05-31')", "DATE", "2020-02-29" },
	{ "DATE_TRUNC('week', DATE '2020-03-01')", "DATE", "2020-02-24" }, { "EXTRACT(year FROM DATE '0000-12-31')", "INT64", "0" },
	{ "EXTRACT(doy FROM DATE '1900-12-31')", "INT64", "365" }, { "DATE '1900-02-28' + 1", "DATE", "1900-03-01" },
};

static const struct expression_case expression_not_looked_at[] = {
	{ "CASE WHEN i = 0 THEN 1 / (i - 7) ELSE 5 END", "INT64", "5" }, { "i = 0 AND 1 / (i - 7) = 1", "BOOL", "false" },
	{ "i = 7 OR 1 / (i - 7) = 1", "BOOL", "true" }, { "COALESCE(i, 1 / (i - 7))", "INT64", "7" }, { "i IN (7, 1 / (i - 7))", "BOOL", "true" },
	{ "i BETWEEN 8 AND 1 / (i - 7)", "BOOL", "false" }, { "CASE i WHEN 7 THEN 1 WHEN 1 / (i - 7) THEN 2 END", "INT64", "1" },
	{ "CASE WHEN none = 1 THEN 1 / (i - 7) END", "INT64", "NULL" }, { "i = 7 AND 1 / (i - 7) = 1", "BOOL", "!division by zero" },
	{ "none = 1 AND 1 / (i - 7) = 1", "BOOL", "!division by zero" },
	{ "CASE WHEN i = 7 THEN CASE WHEN i = 8 THEN 1 / (i - 7) ELSE 3 END END", "INT64", "3" },
};

/* X(name, statements) */
#define EXPRESSION_TABLES(X) \
	X(literals, "X-1 X-5") \
	X(names, "X-2") \
	X(errors, "X-1 X-3") \
	X(precedence, "X-1") \
	X(nulls, "X-6 X-7 X-8 X-9 X-10 X-11 X-12 X-13") \
	X(integers, "X-14 X-15 X-16") \
	X(decimals, "X-17 X-18") \
	X(doubles, "X-19 X-20") \
	X(casts, "X-21 X-22 X-23 X-24") \
	X(text, "X-25 X-26") \
	X(text_arguments, "X-25") \
	X(dates, "X-27") \
	X(not_looked_at, "X-29")

#endif

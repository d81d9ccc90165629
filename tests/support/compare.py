# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Are two databases the same? Every table, every column as text, rows as a multiset."""

from wait import wait_until

QUERY = """
select n.nspname, c.relname,
       array_agg(quote_ident(a.attname) order by a.attname collate "C")
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
where c.relkind in ('r', 'p') and not c.relispartition and a.attnum > 0 and not a.attisdropped
      and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'sluice')
group by 1, 2 order by 1, 2
"""
SETTINGS = ("set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set timezone = 'UTC'; "
            "set extra_float_digits = 3; set bytea_output = 'hex'; set lc_monetary = 'C'; set search_path = public")


def quoted(table):
    return ".".join('"' + part.replace('"', '""') + '"' for part in table)


def tables(db):
    return {(s, t): cols for s, t, cols in db.rows(QUERY)}


def digest(db, table, columns):
    name = quoted(table)
    row = "concat_ws('|', {})".format(", ".join(f"coalesce({c}::text, '~null~')" for c in columns)) if columns else "''"
    return db.rows(f"select count(*), md5(string_agg(h, '' order by h)) from (select md5({row}) as h from {name}) x")[0]


def sample(db, table, columns):
    name = quoted(table)
    row = "concat_ws('|', {})".format(", ".join(f"coalesce({c}::text, '~null~')" for c in columns)) if columns else "''"
    return {r[0] for r in db.rows(f"select left({row}, 300) from {name} limit 20000")}


def differences(blue, green, only=None):
    found = []
    blue.sql(SETTINGS)
    green.sql(SETTINGS)
    there = tables(green)
    for table, columns in tables(blue).items():
        if only and table[1] not in only:
            continue
        if table not in there:
            found.append(f"{table} is missing on green")
            continue
        missing = set(columns) - set(there[table])
        if missing:
            found.append(f"{table}: columns {missing} are missing on green")
            continue
        b, g = digest(blue, table, columns), digest(green, table, columns)
        if b != g:
            bs, gs = sample(blue, table, columns), sample(green, table, columns)
            found.append(f"{table}: blue {b[0]} rows, green {g[0]} rows; only blue: {sorted(bs - gs)[:3]}; "
                         f"only green: {sorted(gs - bs)[:3]}")
    return found


def assert_same(blue, green, only=None):
    found = differences(blue, green, only)
    assert not found, "\n".join(found)


def same(blue, green, table="item"):
    """Waits until one table is."""
    query = f"select md5(string_agg(t::text, ',' order by t::text)) from {table} t"
    wait_until(lambda: green.one(f"select to_regclass('{table}')") and green.one(query) == blue.one(query), 60, f"{table} is the same")

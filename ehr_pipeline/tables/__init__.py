"""Any table with one row per patient or visit: read as it is, learned from, and written back in its own format.

read_table -> Table -> (a generator learns `table.cohort()`) -> write_table
"""

from ehr_pipeline.tables.layout import ColumnLayout, Layout
from ehr_pipeline.tables.table import Table, read_table, table_of
from ehr_pipeline.tables.write import open_table, write_table

__all__ = ["ColumnLayout", "Layout", "Table", "open_table", "read_table", "table_of", "write_table"]

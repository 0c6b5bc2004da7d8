"""The pictures of the report, one kind per file; each function takes findings and gives markup."""

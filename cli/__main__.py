"""`python -m cli` is `campaign-engine`."""

from cli.main import main

main(prog_name="campaign-engine")

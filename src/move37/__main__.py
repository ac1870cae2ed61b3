"""`python -m move37` is the `move37` command."""

from __future__ import annotations

from move37.cli import main

if __name__ == "__main__":
    main()

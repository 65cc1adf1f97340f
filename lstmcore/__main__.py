"""`python -m lstmcore` is `lstmcore`."""

from lstmcore.cli import main

if __name__ == "__main__":
    main()

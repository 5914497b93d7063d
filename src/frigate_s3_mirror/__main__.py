"""`python -m frigate_s3_mirror`."""

from frigate_s3_mirror.cli import main

if __name__ == "__main__":
    main()

"""`python -m voice`: the patch comes before every other import, as in the server."""

from gevent import monkey

monkey.patch_all()

from voice.cli import main  # noqa: E402

if __name__ == "__main__":
    main()

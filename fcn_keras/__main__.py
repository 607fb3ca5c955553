"""Runs the command line: `python -m fcn_keras` is the same as `fcn-keras`."""

from fcn_keras.cli.main import main

if __name__ == "__main__":
    main()

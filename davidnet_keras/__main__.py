import sys

from davidnet_keras.cli.main import main

sys.exit(main())

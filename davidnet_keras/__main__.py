import sys

from davidnet_keras.cli import main

sys.exit(main())

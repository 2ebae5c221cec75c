"""An Arduino library, by the library specification (1.5 format, revision 2.2): header in src/, an example that streams an IMU.

The example calls the header from a C file: in C++ an AVR has no word for flash, and the constants would take its RAM.
"""

FILES = {
    "library.properties": "arduino/library.properties.j2",
    "keywords.txt": "arduino/keywords.txt.j2",
    "README.md": "arduino/README.md.j2",
    "src/{name}.h": "header",
    "examples/StreamIMU/StreamIMU.ino": "arduino/StreamIMU.ino.j2",
    "examples/StreamIMU/classifier.h": "shared/classifier.h.j2",
    "examples/StreamIMU/classifier.c": "shared/classifier.c.j2",
}

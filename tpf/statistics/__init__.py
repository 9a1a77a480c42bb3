"""Tests of whether features tell anything of a label, each with its effect and the smallest one it could have found."""

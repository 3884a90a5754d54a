export { type PythonVenv, pythonVenv } from '../../cli/services/python.ts';
